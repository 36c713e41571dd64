"""Words that say nothing about a topic, English and Chinese; single characters are no words of a topic anyway."""

from __future__ import annotations

_ENGLISH = """
about above after again all almost also although always am among an and any are aren't around as at be became because become been before
being below between both but by came can can't cannot come could couldn't did didn't do does doesn't doing don't done down during each
either else enough etc even ever every few for from further get gets getting give go goes going gone got had hadn't has hasn't have
haven't having he he's her here hers herself him himself his how however i'd i'll i'm i've if in into is isn't it it's its itself just
know least less let let's like made make makes many may maybe me might mine more most much must my myself need neither never no nor not
nothing now of off often on once one only onto or other others our ours ourselves out over own per perhaps put quite rather really said
same say says see seem seems seen several shall she she's should shouldn't since so some someone something still such take than that
that's the their theirs them themselves then there there's these they they're they've thing things this those though through thus to
together too toward two under until up upon us use used using very via want was wasn't way we we're we've well went were weren't what
what's when where whether which while who whole whom whose why will with within without won't would wouldn't yes yet you you'd you'll
you're you've your yours yourself
"""
_CHINESE = """
一下 一个 一些 一切 一样 一次 一点 一直 一种 一般 上面 下面 不仅 不会 不但 不像 不同 不如 不得 不是 不能 不要 不过 与其 且是 两个 为了
为什么 之前 之后 之间 也是 也许 于是 些许 什么 什么样 今天 从而 他们 以上 以下 以为 以及 以后 以来 任何 任凭 似的 但是 何况 作为 你们
使得 依据 便是 俺们 倘若 假如 做到 其中 其他 其它 其实 其次 具体 再者 再说 几个 几乎 出来 分别 别人 别的 到底 前后 十分 即使 却是 又是
及其 只是 只有 只要 可以 可是 可能 各个 各种 各自 同时 同样 后来 向着 否则 听说 咱们 哪个 哪些 哪怕 哪里 因为 因此 因而 固然 在于 多么
多少 大家 大概 好像 如下 如何 如果 如此 始终 宁可 它们 完全 对于 对方 将要 尤其 就是 就要 尽管 岂但 已经 带来 常常 并不 并且 并非 应当
应该 当时 当然 很多 必须 怎么 怎么样 怎样 总之 总是 我们 或是 或者 所以 所有 所谓 才能 按照 换句话说 接着 故而 无论 既是 既然 时候 是否
是的 显然 曾经 最后 有些 有时 有点 有的 本来 来自 极了 果然 某个 某些 根据 正在 正是 此外 此时 每个 比如 比较 没有 沿着 然后 然而 照着
特别 现在 甚至 由于 由此 的话 目前 直到 相当 看到 看见 真是 真的 确实 等等 经过 结果 继续 继而 而且 而是 而言 能够 自从 自己 至于 至少
若是 莫若 虽然 虽说 觉得 认为 许多 说明 谁知 起来 越是 跟着 身上 较为 还是 还有 还要 这个 这么 这些 这儿 这是 这样 这种 这里 进行 连同
通过 遵照 那个 那么 那些 那儿 那样 那种 那边 那里 都是 里面 鉴于 问题 除了 除非 随着 非但 非常 首先
"""

STOP_WORDS = frozenset((_ENGLISH + _CHINESE).split())
