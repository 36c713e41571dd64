"""Words of the pages in both languages: English and Chinese stand side by side in the file, and the reader chooses which one is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Words(NamedTuple):
    """The same said in both languages."""

    en: str
    zh: str


Text = str | Words
MOST_CHARACTERS = 300
# Controls (but tab and line feed), direction marks, empty characters but joiners, byte-order marks, and halves of surrogate pairs.
_UNSHOWN = {
    **dict.fromkeys(
        (*range(9), *range(11, 32), *range(127, 160), 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2028, 0x2029), "\ufffd"
    ),
    **dict.fromkeys((*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000)), "\ufffd"),
}


def shown(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text as it can stand on a page: cut at so many characters, and what no reader sees or what turns the line round replaced.

    >>> shown("a\\x00b\\u202ec"), shown("tea" * 200, 7)
    ('a\ufffdb\ufffdc', 'teatea…')
    """
    return (text if len(text) <= most else text[: most - 1] + "…").translate(_UNSHOWN)


def each(text: Text, change: Callable[[str], str]) -> Text:
    """The text changed, in each of its languages."""
    return Words(change(text.en), change(text.zh)) if isinstance(text, Words) else change(text)


def around(before: str, text: Text, after: str = "") -> Text:
    """The text with something before and after it that is the same in both languages."""
    return each(text, lambda part: before + part + after)


def layers(text: Text) -> list[tuple[str | None, str]]:
    """(language, words) to be written one over the other; language None where both say the same."""
    if isinstance(text, Words):
        return [(None, text.en)] if text.en == text.zh else [("en", text.en), ("zh", text.zh)]
    return [(None, text)]


def label(row: object, key: str = "label") -> Text:
    """A topic's name from a row with `label_en` and `label_zh`; the one of them alone where the other is empty."""
    assert isinstance(row, dict)
    en, zh = row.get(f"{key}_en") or row.get(f"{key}_zh") or "", row.get(f"{key}_zh") or row.get(f"{key}_en") or ""
    return Words(str(en), str(zh)) if en != zh else str(en)


def named(code: str | None) -> Text:
    """A value of a table as itself in English, and in Chinese where it has a name there.

    >>> named("rising"), named("list_7")
    (Words(en='rising', zh='上升'), 'list_7')
    """
    zh = _ZH.get(code or "")
    return Words(str(code), zh) if zh else code or ""


# Values that tables hold, and names that pages show: no other place gives them a Chinese name.
_ZH = {
    # lifecycle, changes, lineage
    "active": "活跃", "lapsing": "渐离", "dormant": "沉睡", "rising": "上升", "falling": "下降", "lost": "消失", "returned": "回归",
    "same": "不变", "drift": "漂移", "split": "拆分", "merge": "合并", "birth": "新生", "death": "消亡", "new": "新增",
    "champion": "在用", "candidate": "候选", "retired": "停用",
    # verdicts and checks
    "good": "完好", "repaired": "已修复", "quarantined": "已隔离", "refused": "拒收", "passed": "通过", "block": "阻断", "warn": "警告",
    "accepted": "已人工接受",
    # lists and their sources
    "for_you": "为你推荐", "popular": "热门", "because_you_liked": "因为你喜欢", "new_for_you": "为你上新", "default": "默认",
    "content": "内容相似", "transitions": "接续", "popularity": "热门度", "declared": "声明的兴趣", "expansion": "兴趣拓展",
    "exploration": "探索", "population": "总体", "explored": "探索位", "exploited": "常规位",
    # what metrics are of, their slices
    "recommender": "推荐", "profile": "画像", "forecast": "预测", "topics": "主题", "all": "全部", "lang": "语言", "activity": "活跃度",
    "region": "地区", "device": "设备", "coverage": "覆盖率", "novelty": "新颖度", "diversity": "多样性", "recall": "召回率",
    "hit_rate": "命中率", "precision": "精确率", "lifecycle": "生命周期", "cold_level": "了解程度",
    # stages, jobs and triggers
    "facts": "事实", "texts": "文本", "interests": "兴趣", "lists": "推荐列表", "publish": "发布", "report": "报告", "clean": "清洗",
    "aggregate": "汇总", "embed": "向量化", "annotate": "标注", "assign_topics": "归入主题", "compare": "比较", "evolve": "演变",
    "expand": "拓展", "segment": "人群", "recommend": "推荐", "evaluate": "评估", "audit": "核查", "scheduled": "定时", "manual": "手动",
    "backfill": "回填", "intraday": "日内", "erasure": "删除",
    # horizons of rows that come late
    "0 nothing known": "0 一无所知", "1 declared": "1 仅声明", "2 few events": "2 行为很少", "3 full": "3 充分了解",
}  # fmt: skip
