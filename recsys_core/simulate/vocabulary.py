"""The words of the simulated shop: what each planted topic talks about, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One planted topic.

    name      the value of `topic` in the truth files
    lang      en or zh, the language of its items
    category  the shop's shelf that fits it (only 60 % of its items stand there)
    price     median price of its items, in the shop's one currency
    products, details, uses   its own words: things sold, parts and materials, occasions
    near      words that it shares with neighbouring topics
    """

    name: str
    lang: str
    category: str
    price: float
    products: tuple[str, ...]
    details: tuple[str, ...]
    uses: tuple[str, ...]
    near: tuple[str, ...]


def _split(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.replace("\n", " ").split(","))


# Words of neighbourhoods: each list belongs to several topics, so a word of it says little about which.
_EN_NEAR = {
    "outdoor": _split("weatherproof, trail, trip, weekend, lightweight, rugged, season, rain, sunrise, outdoors, river, distance"),
    "home": _split("kitchen, living room, cosy, ceramic, wooden, shelf, cleaning, morning, family, quiet, countertop, storage"),
    "craft": _split("hobby, studio, practice, patience, colour, detail, set, evening, beginner, masterpiece, table, hand-made"),
    "care": _split("gentle, soft, washable, soothing, natural, healthy, daily routine, calm, breathable, sensitive, comfort, organic"),
    "tech": _split("precision, cable, sound, desk, setup, aluminium, upgrade, adjustable, click, performance, silent, workspace"),
    "play": _split("friends, fun, evening, kids, challenge, rules, gift box, party, training, weekend, energy, table"),
}
_ZH_NEAR = {
    "户外": _split("防水, 轻便, 周末, 出行, 耐磨, 便携, 收纳, 山野, 湖边, 旅途, 防晒, 结实"),
    "居家": _split("客厅, 阳台, 厨房, 温馨, 陶瓷, 木质, 台面, 早晨, 家人, 清洁, 安静, 摆件"),
    "雅致": _split("国风, 手工, 传统, 雅致, 礼盒, 匠心, 修身, 静心, 书房, 古朴, 茶余, 闲暇"),
    "护理": _split("温和, 柔软, 亲肤, 天然, 健康, 呵护, 舒缓, 透气, 敏感, 安心, 日常护理, 可水洗"),
    "科技": _split("精准, 铝合金, 升级, 静音, 可调节, 性能, 桌面, 充电, 灵敏, 快拆, 碳纤维, 稳定"),
}

GENERIC_EN = _split(
    "quality, durable, compact, premium, classic, modern, practical, reliable, affordable, stylish, sturdy, versatile, "
    "easy to use, well made, long lasting, simple, smart, new, handy, everyday, popular, improved"
)
GENERIC_ZH = _split(
    "优质, 耐用, 小巧, 高级, 经典, 现代, 实用, 可靠, 实惠, 时尚, 新款, 多功能, 好用, 做工精细, 简约, 热销, 升级版, 百搭, 精选, 家用"
)

BRANDS_EN = _split(
    "Norvik, Alderway, Pinecrest, Lumora, Tessel, Brightfox, Oakline, Marlow, Quillon, Harrow & Co, Verano, Kestrel, Bluefern, "
    "Ostara, Ridgeline, Solvane, Whitby, Corvid, Maplewood, Zephyra, Halden, Fennimore, Juniper Lane, Copperleaf"
)
BRANDS_ZH = _split(
    "云栖, 青禾, 山语, 木白, 知物, 南屿, 拾光, 清川, 素觉, 悦然, 北辰, 归野, 初见, 墨言, 竹影, 半夏, 星野, 和风堂, 乐途, 简素"
)

# A shelf that disagrees with the topic is one of the other topics' or one of these.
SALE_SHELVES = {"en": ("Gifts", "Deals", "New Arrivals", "Clearance"), "zh": ("礼品", "特惠", "新品", "清仓")}


def _en(name: str, category: str, price: float, near: tuple[str, str], products: str, details: str, uses: str) -> Topic:
    words = tuple(dict.fromkeys(_EN_NEAR[near[0]] + _EN_NEAR[near[1]]))
    return Topic(name, "en", category, price, _split(products), _split(details), _split(uses), words)


def _zh(name: str, category: str, price: float, near: tuple[str, str], products: str, details: str, uses: str) -> Topic:
    words = tuple(dict.fromkeys(_ZH_NEAR[near[0]] + _ZH_NEAR[near[1]]))
    return Topic(name, "zh", category, price, _split(products), _split(details), _split(uses), words)


TOPICS: tuple[Topic, ...] = (
    _en("hiking gear", "Outdoor", 70, ("outdoor", "play"),
        "hiking backpack, trekking poles, hiking boots, trail map case, summit jacket, hiking gaiters, mountain daypack, hiking socks",
        "ankle support, hydration sleeve, grippy outsole, padded hip belt, ventilated back panel, cork pole grips",
        "mountain hikes, alpine summits, multi-day treks, rocky ridge walks, backpacking holidays, day hikes"),
    _en("espresso coffee", "Coffee", 90, ("home", "tech"),
        "espresso machine, burr coffee grinder, coffee tamper, milk frothing pitcher, portafilter basket, "
        "roasted coffee beans, moka pot, espresso cups",
        "steam wand, crema, arabica roast, conical burrs, fifteen bar pump, bottomless portafilter",
        "pulling espresso shots, latte art, cappuccino mornings, home baristas, dialling in the grind, brewing coffee"),
    _en("baby care", "Baby", 35, ("care", "home"),
        "baby bottle, swaddle blanket, nappy changing mat, baby monitor, pacifier set, baby carrier, teething ring, infant sleep sack",
        "anti-colic valve, newborn size, diaper snaps, bpa-free silicone nipple, cot rail clip, infant lining",
        "newborns, feeding a baby, nap time in the cot, changing nappies, teething infants, new parents"),
    _en("fishing", "Fishing", 55, ("outdoor", "play"),
        "fishing rod, spinning reel, crankbait lure, tackle box, braided fishing line, landing net, fly fishing vest, fish hooks",
        "bait clip, drag system, treble hook, fluorocarbon leader, rod guides, spool capacity",
        "bass fishing, trout streams, casting from the bank, catching pike, fly anglers, carp lakes"),
    _en("road cycling", "Cycling", 85, ("outdoor", "tech"),
        "road bike saddle, cycling jersey, bike helmet, clipless pedals, bicycle chain, bike tyre, cycling bib shorts, handlebar tape",
        "chainring, derailleur hanger, chamois pad, carbon rails, tubeless bead, spoke nipples",
        "century rides, climbing on the bike, criterium races, cycling commutes, peloton sprints, gravel cycling"),
    _en("watercolour painting", "Art", 30, ("craft", "home"),
        "watercolour paint set, sable paint brush, watercolour paper pad, painting palette, masking fluid, "
        "painting easel, gouache tubes, sketchbook",
        "cold-pressed paper, pigment granulation, kolinsky hair, paint pans, wash brush tip, lightfast pigments",
        "painting landscapes, wet-on-wet washes, botanical painting, urban sketching, artists on location, painting portraits"),
    _en("board games", "Games", 40, ("play", "craft"),
        "strategy board game, cooperative card game, dice set, wooden meeples, board game expansion, "
        "game board organiser, chess set, trivia board game",
        "player boards, victory points, resource tokens, deck building, hex tiles, turn markers",
        "board game night, two-player duels, game tournaments, tabletop gamers, worker placement fans, solo campaign play"),
    _en("computer keyboards", "Computers", 95, ("tech", "craft"),
        "mechanical keyboard, keycap set, keyboard switches, gaming mouse, usb keyboard cable, "
        "keyboard wrist rest, numeric keypad, split ergonomic keyboard",
        "hot-swap sockets, tactile switches, pbt keycaps, rgb backlight, n-key rollover, usb polling rate",
        "typing all day, programmers, pc gaming, coding marathons, computer workstations, macro shortcuts"),
    _en("gardening", "Garden", 28, ("home", "outdoor"),
        "garden trowel, pruning shears, tomato seeds, raised garden bed, watering can, compost bin, plant pots, garden hose",
        "potting soil, drainage holes, bypass blades, heirloom seeds, slow-release fertiliser, mulch",
        "growing vegetables, pruning roses, planting bulbs, greenhouse seedlings, weeding flower beds, lawns and hedges"),
    _en("yoga", "Fitness", 38, ("care", "play"),
        "yoga mat, yoga block, meditation cushion, yoga strap, yoga leggings, yoga bolster, pilates ring, yoga towel",
        "non-slip grip, alignment lines, buckwheat filling, four-way stretch, cork surface, closed-cell cushioning",
        "vinyasa flow, yoga asanas, stretching and meditation, hot yoga classes, restorative yoga, pranayama breathing"),
    _en("dog care", "Pets", 32, ("care", "play"),
        "dog leash, dog bed, puppy harness, dog chew toy, dog food bowl, grooming brush for dogs, dog treats, dog collar",
        "chew-proof stitching, paw balm, shedding coat comb, kibble portions, leash clip, squeaker",
        "walking the dog, puppy training, large dog breeds, grooming a furry coat, fetch in the dog park, teething puppies"),
    _en("home audio", "Audio", 150, ("tech", "home"),
        "bookshelf speakers, stereo amplifier, turntable, subwoofer, studio headphones, soundbar, phono preamp, speaker stands",
        "silk dome tweeter, bass driver, vinyl stylus, bluetooth receiver, crossover network, hi-fi dac",
        "listening to vinyl records, hi-fi music, deep bass, stereo imaging, audiophile listening, surround sound movies"),
    _zh("茶具", "茶饮", 120, ("雅致", "居家"), "紫砂壶, 盖碗, 公道杯, 茶盘, 功夫茶具套装, 茶叶罐, 品茗杯, 煮茶器",
        "宜兴原矿, 壶嘴断水, 汝窑开片, 竹制茶托, 滤茶网, 釉面", "泡普洱, 品龙井, 功夫茶会, 冲泡乌龙茶, 围炉煮茶, 喝白茶"),
    _zh("露营", "户外", 260, ("户外", "科技"), "露营帐篷, 天幕, 睡袋, 折叠露营椅, 露营灯, 蛋卷桌, 野营炉头, 充气床垫",
        "地钉, 防风绳, 羽绒填充, 银胶涂层, 帐杆, 防潮垫", "森林露营, 搭帐篷过夜, 营地烧烤, 看星空, 自驾野营, 草原扎营"),
    _zh("母婴", "母婴", 80, ("护理", "居家"), "婴儿奶瓶, 纸尿裤, 宝宝睡袋, 婴儿推车, 安抚奶嘴, 吸奶器, 辅食碗, 婴儿湿巾",
        "防胀气奶嘴, 新生儿尺码, 食品级硅胶, 尿显条, 五点式安全带, 襁褓", "宝宝喂奶, 新生儿入睡, 添加辅食, 换尿布, 待产妈妈, 哄娃睡觉"),
    _zh("垂钓", "渔具", 130, ("户外", "科技"), "鱼竿, 渔轮, 路亚假饵, 钓箱, 鱼线, 浮漂, 抄网, 鱼钩",
        "子线, 调漂刻度, 泄力系统, 窝料, 竿稍, 八字环", "野钓鲫鱼, 路亚鲈鱼, 夜钓, 水库钓鲤鱼, 台钓比赛, 打窝守钓"),
    _zh("骑行", "运动", 220, ("科技", "户外"), "公路车坐垫, 骑行服, 骑行头盔, 自锁脚踏, 自行车链条, 自行车外胎, 码表, 骑行手套",
        "牙盘, 变速器, 坐垫硅胶, 辐条, 真空胎, 把带", "长途骑行, 爬坡训练, 公路车比赛, 骑车通勤, 环湖骑行, 车队拉练"),
    _zh("书法", "文具", 65, ("雅致", "居家"), "毛笔, 宣纸, 砚台, 墨汁, 字帖, 镇纸, 笔架, 书法毛毡",
        "狼毫, 兼毫笔锋, 徽墨, 半生熟宣, 米字格, 端砚", "练楷书, 临摹颜体, 写行书, 抄写心经, 写春联, 学隶书"),
    _zh("厨具", "厨房", 140, ("居家", "科技"), "铸铁炒锅, 不粘煎锅, 菜刀, 砧板, 电饭煲, 蒸锅, 汤锅, 空气炸锅",
        "锅铲, 不粘涂层, 复合锅底, 锰钢刀刃, 蒸笼, 内胆", "爆炒川菜, 煎牛排, 炖汤, 蒸鱼, 切菜备料, 煮米饭"),
    _zh("电脑外设", "数码", 240, ("科技", "居家"), "机械键盘, 电竞鼠标, 键帽, 显示器支架, 鼠标垫, 扩展坞, 轴体, 摄像头",
        "热插拔轴座, 全键无冲, 红轴, 传感器, 接口, 背光灯效", "打字办公, 电竞游戏, 写代码, 剪视频, 网课直播, 双屏工作"),
    _zh("园艺", "园艺", 40, ("居家", "护理"), "花盆, 营养土, 修枝剪, 多肉植物, 月季花苗, 浇水壶, 蔬菜种子, 爬藤架",
        "排水孔, 缓释肥, 珍珠岩, 扦插生根粉, 腐叶土, 喷头", "种月季, 养多肉, 播种育苗, 修剪枝叶, 种番茄, 给绿植换盆"),
    _zh("护肤", "美妆", 160, ("护理", "雅致"), "保湿面霜, 精华液, 洗面奶, 防晒霜, 面膜, 爽肤水, 眼霜, 卸妆油",
        "玻尿酸, 烟酰胺, 神经酰胺, 氨基酸表活, 视黄醇, 防晒指数", "补水保湿, 淡化细纹, 控油祛痘, 换季修护, 熬夜肌急救, 提亮肤色"),
    _zh("养猫", "宠物", 70, ("护理", "居家"), "猫粮, 猫砂盆, 猫爬架, 逗猫棒, 猫抓板, 猫罐头, 猫包, 猫砂",
        "剑麻绳, 冻干颗粒, 除臭豆腐砂, 羽毛铃铛, 猫薄荷, 化毛膏", "撸猫, 幼猫到家, 猫咪磨爪, 铲屎, 布偶猫换粮, 带猫看医生"),
    _zh("汉服", "服饰", 210, ("雅致", "护理"), "马面裙, 齐胸襦裙, 明制汉服, 发簪, 宋制褙子, 交领上衣, 汉服披风, 绣花鞋",
        "妆花织金, 盘扣, 提花面料, 流苏步摇, 刺绣云肩, 褶裥", "花朝节出游, 汉服婚礼, 古风拍照, 春日游园, 中秋雅集, 日常穿汉服"),
)  # fmt: skip


def topic_vocabulary(topic: Topic) -> tuple[frozenset[str], frozenset[str]]:
    """Own and shared words of a topic: what no other topic lists, and what at least one other does (generic shop words included)."""
    generic = GENERIC_EN if topic.lang == "en" else GENERIC_ZH
    listed = frozenset(topic.products + topic.details + topic.uses + topic.near + generic)
    elsewhere = {w for other in TOPICS if other is not topic for w in other.products + other.details + other.uses + other.near}
    shared = frozenset(w for w in listed if w in elsewhere or w in generic)
    return listed - shared, shared
