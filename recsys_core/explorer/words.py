"""What the pages say, in English and Chinese: the texts of the pages, and the codes of the tables in words."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

WORDS: dict[str, tuple[str, str]] = {
    # pages
    "explorer": ("Interest explorer", "兴趣浏览"),
    "topics": ("Topics", "主题"),
    "topic": ("topic", "主题"),
    "user": ("User", "用户"),
    "users": ("users", "用户"),
    "models": ("Models", "模型"),
    "visitors": ("Unknown visitors", "未知访客"),
    "nights": ("Nights", "夜次"),
    "night": ("Night", "夜次"),
    "other": ("中文", "English"),
    "content": ("Skip to content", "跳到正文"),
    "find": ("Find", "查找"),
    "find_label": ("User key or topic", "用户键或主题"),
    "find_hint": ("a user key’s beginning, or words of a topic", "用户键的开头，或主题中的词"),
    "go": ("Go", "前往"),
    "earlier": ("Earlier night", "前一夜"),
    "later": ("Later night", "后一夜"),
    "compare": ("Compare", "比较"),
    "with_night": ("with night", "与夜次"),
    "none": ("none", "无"),
    # what was found
    "found_users": ("Users whose key begins so", "键以此开头的用户"),
    "found_topics": ("Topics with these words", "含有这些词的主题"),
    "nothing": ("Nothing of this name on this night.", "这一夜没有此名称的内容。"),
    "only_first": ("Only the first are shown: give more of it.", "只显示最前面的：请输入更多。"),
    "all_topics": ("Topics of the night", "当夜主题"),
    "no_topics": ("No topic model was valid on this night.", "这一夜没有有效的主题模型。"),
    "past_topics": ("Topics of other versions", "其他版本的主题"),
    "some_users": ("Some users", "部分用户"),
    # a user
    "horizon": ("Half-life", "半衰期"),
    "90d": ("90 days", "90天"),
    "7d": ("7 days", "7天"),
    "1d": ("1 day", "1天"),
    "interests": ("Interests", "兴趣"),
    "no_interests": ("No interest is held on this night.", "这一夜没有兴趣。"),
    "gone": ("Held before, not now", "曾有，现已没有"),
    "share": ("share", "占比"),
    "lift": ("lift", "提升度"),
    "confidence": ("confidence", "置信度"),
    "events": ("events", "次行为"),
    "events_30d": ("events in 30 days", "次行为（30天）"),
    "items_n": ("items", "件物品"),
    "since": ("since", "始于"),
    "because": ("Because of", "依据"),
    "rest": ("everything else", "其余"),
    "changes": ("What changed", "变化"),
    "no_changes": ("Nothing changed beyond chance.", "没有超出偶然的变化。"),
    "compared": ("compared with", "比较对象"),
    "forecast": ("What may come next", "接下来"),
    "no_forecast": ("No forecast for this night.", "这一夜没有预测。"),
    "within": ("within days", "天内"),
    "probability": ("probability", "概率"),
    "baseline_share": ("by 7-day share alone", "仅按7天占比"),
    "expansion": ("What they may take up", "可能的新兴趣"),
    "no_expansion": ("Nothing is proposed for this night.", "这一夜没有提议。"),
    "via": ("from", "来自"),
    "segments": ("Segments", "人群"),
    "lists": ("Lists", "推荐列表"),
    "no_lists": ("No lists on this night.", "这一夜没有列表。"),
    "explores": ("explores", "探索"),
    "source": ("source", "来源"),
    "score": ("score", "得分"),
    "variant": ("variant", "版本"),
    "history_label": (
        "share on {n} nights, {first} to {last}: now {now}, at most {most}",
        "{n}夜的占比，{first}至{last}：现为{now}，最高{most}",
    ),
    # two nights
    "before": ("before", "之前"),
    "after": ("after", "之后"),
    "difference": ("difference", "差"),
    "rank": ("rank", "名次"),
    "item": ("item", "物品"),
    "moved_in": ("new", "新进"),
    "moved_out": ("left", "移出"),
    "topics_model": ("topic model", "主题模型"),
    # a topic
    "keywords": ("Keywords", "关键词"),
    "audience": ("Audience", "受众"),
    "audience_label": (
        "users who hold it, {first} to {last}: now {now}, at most {most}",
        "持有的用户，{first}至{last}：现为{now}，最多{most}",
    ),
    "no_audience": ("Nobody holds it on these nights, or too few to be told of.", "这些夜里无人持有，或人数过少而不予显示。"),
    "figures": ("The figures", "数值"),
    "holders": ("Who holds it", "谁持有"),
    "holders_note": ("the strongest of at most 1,000, taken by chance", "从至多1,000位随机用户中选最强者"),
    "top_items": ("Its items", "物品"),
    "edges": ("What it hangs together with", "关联"),
    "lineage": ("Where it comes from", "沿革"),
    "no_lineage": ("No version came after its first.", "首版之后没有新版本。"),
    "versions": ("Under each version", "各版本"),
    "version": ("version", "版本"),
    "texts": ("texts", "文本"),
    "coherence": ("coherence (NPMI)", "一致性（NPMI）"),
    "parent": ("part of", "属于"),
    "children": ("Its parts", "包含"),
    "parents": ("What they are parts of", "上级主题"),
    "born": ("since", "始于"),
    "is_retired": ("retired", "停用于"),
    # models, nights
    "kind": ("kind", "类别"),
    "status": ("status", "状态"),
    "trained": ("trained on", "训练数据"),
    "valid_from": ("valid from", "生效"),
    "first_model": ("one model", "一个模型"),
    "second_model": ("another model", "另一个模型"),
    "metric": ("metric", "指标"),
    "of": ("of", "对象"),
    "beside": ("beside", "对照"),
    "observed": ("observed", "观测"),
    "allowed": ("allowed", "允许"),
    "no_metrics": ("Neither has a metric in the last 30 nights.", "最近30夜两者都没有指标。"),
    "choose_two": ("Choose two models to see their metrics and topics side by side.", "选择两个模型，并排查看指标与主题。"),
    "steps": ("From one to the other", "从一个到另一个"),
    "tables": ("Newest publication of each table", "各表最近一次发布"),
    "table": ("table", "表"),
    "rows": ("rows", "行数"),
    "age": ("age in days", "距今天数"),
    "published": ("published", "发布于"),
    "generation": ("generation", "代次"),
    "warnings": ("Checks that did not pass on the newest night", "最近一夜未通过的检查"),
    "no_warnings": ("All checks passed.", "全部检查通过。"),
    "check": ("check", "检查"),
    "severity": ("severity", "级别"),
    "slots": ("slots", "推荐位"),
    # what cannot be shown
    "wrong": ("That cannot be shown", "无法显示"),
    "no_page": ("There is no such page.", "没有这个页面。"),
    "no_night": (
        "This night is not published: choose one that is, or run it by the DAG nightly or “python -m jobs night”.",
        "这一夜没有发布：请选择已发布的一夜，或用 DAG nightly 或“python -m jobs night”运行它。",
    ),
    "published_nights": ("Published nights", "已发布的夜次"),
    "nothing_published": (
        "Nothing is published yet: run a night first, by the DAG nightly or “python -m jobs night”.",
        "尚未发布任何内容：请先用 DAG nightly 或“python -m jobs night”运行一夜。",
    ),
    "no_user": ("No such user on this night.", "这一夜没有这个用户。"),
    "no_topic": ("No such topic, or it may not be shown.", "没有这个主题，或不可显示。"),
    "no_model": ("No such model.", "没有这个模型。"),
    "bad_params": ("The address asks for something that is no night, key or number of a topic.", "地址中的夜次、用户键或主题编号不正确。"),
    "no_warehouse": (
        "The warehouse cannot be read: the API server’s log says why. Move a damaged file away and publish again: docs/operations.md.",
        "无法读取数据仓库：原因见 API 服务器日志。损坏的文件请移走后重新发布：docs/operations.md。",
    ),
    "no_file": (
        "There is no warehouse where the settings say: publish a night first, or correct WAREHOUSE_READER or WAREHOUSE.",
        "设置所指的位置没有数据仓库：请先发布一夜，或更正 WAREHOUSE_READER 或 WAREHOUSE。",
    ),
    "no_answer": (
        "The warehouse’s server does not answer, or its tables are being changed: see that it runs, then load this page again.",
        "数据仓库服务器没有应答，或其表正在更改：请确认它在运行，然后重新加载本页。",
    ),
    "no_entry": (
        "The warehouse’s server is not found or lets nobody in: correct host, database, role or password in WAREHOUSE_READER or WAREHOUSE.",
        "找不到数据仓库服务器或无法登录：请更正 WAREHOUSE_READER 或 WAREHOUSE 中的主机、数据库、角色或密码。",
    ),
    "no_right": (
        "The warehouse may not be read: grant nightly_reader to the role of WAREHOUSE_READER, or let the API server read the file.",
        "没有读取数据仓库的权限：请把 nightly_reader 授予 WAREHOUSE_READER 的角色，或允许 API 服务器读取该文件。",
    ),
    "no_table": (
        "The warehouse lacks a table: run “python -m jobs migrate”. A reader’s URL must end in ?options=-csearch_path%3Dpublished.",
        "数据仓库缺少某个表：请运行“python -m jobs migrate”。只读角色的地址须以 ?options=-csearch_path%3Dpublished 结尾。",
    ),
    "bad_settings": (
        "The settings are wrong: the API server’s log says which; correct them, then run “make down” and “make up”.",
        "设置有误：具体见 API 服务器日志；更正后请运行“make down”和“make up”。",
    ),
    "no_reason": ("This page could not be made: the API server’s log says why.", "无法生成本页：原因见 API 服务器日志。"),
    "back": ("To the beginning", "返回首页"),
    # codes of the tables
    "new": ("new", "新"),
    "active": ("active", "活跃"),
    "lapsing": ("lapsing", "渐少"),
    "dormant": ("dormant", "沉寂"),
    "retired": ("retired", "已停用"),
    "rising": ("rising", "上升"),
    "falling": ("falling", "下降"),
    "lost": ("lost", "失去"),
    "returned": ("returned", "回归"),
    "context": ("close in meaning", "含义相近"),
    "collaborative": ("people alike", "相似人群"),
    "knowledge": ("relations of topics", "主题关系"),
    "llm": ("language model", "语言模型"),
    "cooccur": ("held together", "同时持有"),
    "transition": ("one after the other", "先后相继"),
    "similar": ("close in meaning", "含义相近"),
    "taxonomy": ("by the catalogue", "按目录"),
    "same": ("same", "不变"),
    "drift": ("drifted", "漂移"),
    "split": ("split", "拆分"),
    "merge": ("merged", "合并"),
    "birth": ("born", "新生"),
    "death": ("gone", "消失"),
    "champion": ("in use", "使用中"),
    "candidate": ("candidate", "候选"),
    "for_you": ("For you", "为你推荐"),
    "because_you_liked": ("Because you liked", "因为你喜欢"),
    "new_for_you": ("New for you", "新品推荐"),
    "popular": ("Popular", "热门"),
    "trending": ("Trending", "趋势"),
}


def said(language: Language, word: str, **values: object) -> str:
    """The word in a language, with values in it; a code that is not known stays as it is."""
    known = WORDS.get(word)
    return known[LANGUAGES.index(language)].format(**values) if known else word


def preferred(accepted: str) -> Language:
    """The language that a browser's Accept-Language asks for first, English when it is neither.

    >>> preferred("zh-CN,zh;q=0.9,en;q=0.8"), preferred("de, en-GB;q=0.7, zh;q=0.3"), preferred("")
    ('zh', 'en', 'en')
    """
    for part in accepted.lower().split(","):
        for language in LANGUAGES:
            if part.strip().split(";")[0].split("-")[0] == language:
                return language
    return "en"
