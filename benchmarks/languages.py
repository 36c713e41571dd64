"""The language of a text: how many English texts are called something else, how many others are found, how fast and in how much memory.

`python -m benchmarks.languages [--shared PATH]` measures the rule in recsys_core.texts beside script alone (every Latin letter is English)
and beside a library's likeliest language, on the texts below and, where PATH has them, on real reviews, questions and product titles. Real
texts count as English, so a share of foreign ones among them lowers every figure: of the reviews a tenth is (`--examples N` shows some).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from recsys_core import texts

# Texts by language, apart by "|": from one word to a few sentences; reviews, comments, queries and product titles as shops have them.
FOREIGN = {
    "German": """Sehr gut|Gerne wieder|Macht süchtig|Nicht zu empfehlen|Schnelle Lieferung|Leider zu teuer
        |Kaffeetasse mit Deckel|Bester Teil der Reihe|Sehr gutes Spiel, macht viel Spaß|Ware kam beschädigt an
        |Gutes Produkt zu einem fairen Preis|Die Steuerung ist leider furchtbar|Holzspielzeug für Kinder ab drei Jahren
        |Ich habe das Spiel nach zwei Stunden zurückgegeben|WARUM STÜRZT DAS SPIEL STÄNDIG AB
        |Wie kann ich das Bier zu Hause selbst brauen?|Meine Tochter liebt diese Puppe und spielt jeden Tag damit.
        |gibt es das auch in blau oder nur in schwarz
        |Das Spiel hat eine tolle Grafik, aber die Geschichte ist langweilig und viel zu kurz.
        |Wasserdichte Wanderschuhe für Damen, Größe 39
        |Nach einem halben Jahr ist der Griff abgebrochen, und der Verkäufer antwortet nicht auf meine Nachrichten. Nie wieder!
        |Ein wirklich schönes Brettspiel für die ganze Familie. Die Regeln sind schnell erklärt, und jede Runde verläuft anders.
        |Super Spiel, kann ich jedem empfehlen
        |Wer Strategiespiele mag, wird hier viele Stunden Freude haben, auch wenn der Anfang etwas zäh ist.""",
    "French": """Très bon|Trop cher|Je recommande|Livraison rapide|Jeu magnifique|Une perte de temps
        |Lampe de chevet en bois|Pas mal du tout|Bon rapport qualité prix|Le jeu est trop court mais vraiment beau
        |Je suis très déçu par ce produit|Cadeau parfait pour un enfant de six ans|Chaussures de marche pour femme, taille 38
        |Ça ne marche pas sur mon ordinateur|C'EST LE MEILLEUR JEU DE L'ANNÉE|Comment brasser sa propre bière à la maison ?
        |Ma fille adore cette poupée et joue avec tous les jours.|est ce que ça existe aussi en rouge
        |Les graphismes sont superbes, mais l'histoire manque de profondeur et les dialogues sont mal écrits.
        |Excellent jeu, merci aux développeurs
        |Après six mois d'utilisation, la poignée s'est cassée et le vendeur ne répond plus à mes messages. À éviter absolument.
        |Un très beau jeu de société pour toute la famille, les règles sont simples et chaque partie est différente.
        |Service client inexistant
        |Si vous aimez les jeux de stratégie, vous allez y passer des heures, même si le début est un peu lent.""",
    "Spanish": """Muy bueno|Muy caro|Lo recomiendo|Envío rápido|Juego buenísimo|No vale la pena
        |Lámpara de mesa de madera|El mejor de la saga|Buena relación calidad precio|El juego es corto pero muy bonito
        |Estoy muy decepcionado con la compra|Regalo perfecto para una niña de seis años|Zapatos de montaña para mujer, talla 38
        |No funciona en mi ordenador|EL MEJOR JUEGO DEL AÑO SIN DUDA|¿Cómo puedo hacer cerveza en casa?
        |A mi hija le encanta esta muñeca y juega con ella todos los días.|lo tienen también en color rojo
        |Los gráficos son increíbles, pero la historia es aburrida y demasiado corta.|Juegazo, gracias a los desarrolladores
        |A los seis meses se rompió el mango y el vendedor no contesta a mis mensajes. No lo compren.
        |Un juego de mesa muy bonito para toda la familia, las reglas son sencillas y cada partida es diferente.|Llegó roto y tarde
        |Si te gustan los juegos de estrategia vas a pasar muchas horas aquí, aunque el principio es un poco lento.""",
    "Portuguese": """Muito bom|Muito caro|Eu recomendo|Entrega rápida|Jogo incrível|Não vale a pena
        |Luminária de mesa de madeira|Melhor jogo da série|Bom custo benefício|O jogo é curto mas muito bonito
        |Estou muito decepcionado com a compra|Presente perfeito para uma criança de seis anos|Botas de caminhada femininas, tamanho 38
        |Não funciona no meu computador|O MELHOR JOGO QUE JÁ JOGUEI NA VIDA|Como fazer cerveja em casa?
        |Minha filha adora esta boneca e brinca com ela todos os dias.|tem esse produto na cor vermelha
        |Os gráficos são lindos, mas a história é chata e curta demais.|Jogo muito divertido para jogar com os amigos
        |Depois de seis meses a alça quebrou e o vendedor não responde às minhas mensagens. Não comprem.
        |Um jogo de tabuleiro muito bonito para toda a família, as regras são simples e cada partida é diferente.|Chegou com defeito
        |Se você gosta de jogos de estratégia vai passar muitas horas aqui, mesmo que o começo seja um pouco lento.""",
    "Italian": """Molto bello|Troppo caro|Lo consiglio|Spedizione veloce|Gioco stupendo|Soldi buttati
        |Lampada da tavolo in legno|Il migliore della serie|Ottimo rapporto qualità prezzo|Il gioco è breve ma davvero bello
        |Sono molto deluso da questo acquisto|Regalo perfetto per una bambina di sei anni|Scarponi da montagna da donna, misura 38
        |Non funziona sul mio computer|IL GIOCO PIÙ BELLO DELL'ANNO|Come posso fare la birra in casa?
        |Mia figlia adora questa bambola e ci gioca tutti i giorni.|esiste anche di colore rosso
        |La grafica è splendida, ma la storia è noiosa e troppo corta.|Bellissimo gioco, grazie agli sviluppatori
        |Dopo sei mesi si è rotta la maniglia e il venditore non risponde ai miei messaggi. Mai più.
        |Un gioco da tavolo molto bello per tutta la famiglia, le regole sono semplici e ogni partita è diversa.
        |Arrivato in ritardo e rotto|Se vi piacciono i giochi di strategia ci passerete molte ore, anche se l'inizio è un po' lento.""",
    "Dutch": """Heel goed|Veel te duur|Een aanrader|Snelle levering|Prachtig spel|Zonde van het geld
        |Houten tafellamp|Het beste deel van de reeks|Goede prijs en kwaliteit|Het spel is kort maar erg mooi
        |Ik ben erg teleurgesteld in dit product|Leuk cadeau voor een kind van zes jaar|Waterdichte wandelschoenen voor dames, maat 38
        |Het werkt niet op mijn computer|HET LEUKSTE SPEL VAN HET JAAR|Hoe kan ik thuis zelf bier brouwen?
        |Mijn dochter is dol op deze pop en speelt er elke dag mee.|is deze ook in het rood te krijgen
        |De beelden zijn schitterend, maar het verhaal is saai en veel te kort.|Erg leuk om samen met vrienden te spelen
        |Na een half jaar brak het handvat af en de verkoper reageert niet op mijn berichten. Nooit meer.
        |Een heel mooi bordspel voor het hele gezin, de regels zijn eenvoudig en elk potje is anders.|Kapot aangekomen
        |Als je van strategiespellen houdt ben je hier uren zoet, al komt het begin wat langzaam op gang.""",
    "Polish": """Bardzo dobre|Za drogie|Polecam|Szybka dostawa|Świetna gra|Szkoda pieniędzy|Drewniana lampka nocna
        |Najlepsza część serii|Dobra jakość za tę cenę|Gra jest krótka, ale bardzo ładna|Jestem bardzo rozczarowany tym zakupem
        |Idealny prezent dla dziecka|Buty trekkingowe damskie, rozmiar 38|Nie działa na moim komputerze|NAJLEPSZA GRA ROKU
        |Jak zrobić piwo w domu?|Moja córka uwielbia tę lalkę i bawi się nią codziennie.|czy jest dostępny w kolorze czerwonym
        |Grafika jest przepiękna, ale fabuła nudna i zdecydowanie za krótka.|Super gra, polecam kazdemu
        |Po sześciu miesiącach urwała się rączka, a sprzedawca nie odpowiada na wiadomości. Nigdy więcej.
        |Bardzo ładna gra planszowa dla całej rodziny, zasady są proste, a każda rozgrywka jest inna.|Przyszło uszkodzone
        |Kto lubi gry strategiczne, spędzi tu wiele godzin, choć początek jest trochę powolny.""",
    "Turkish": """Çok güzel|Çok pahalı|Tavsiye ederim|Hızlı kargo|Harika bir oyun|Para israfı|Ahşap masa lambası
        |Serinin en iyisi|Fiyatına göre kaliteli bir ürün|Oyun kısa ama gerçekten güzel|Bu üründen hiç memnun kalmadım
        |Altı yaşında bir çocuk için güzel hediye|Kadın yürüyüş ayakkabısı, 38 numara|Bilgisayarımda çalışmıyor|YILIN EN İYİ OYUNU
        |Evde nasıl bira yapabilirim?|Kızım bu bebeğe bayılıyor ve her gün onunla oynuyor.|bunun kirmizi olani var mi
        |Grafikler çok güzel ama hikaye sıkıcı ve çok kısa.|Arkadaşlarla oynamak çok eğlenceli
        |Altı ay sonra kulpu kırıldı ve satıcı mesajlarıma cevap vermiyor. Sakın almayın.
        |Bütün aile için çok güzel bir kutu oyunu, kuralları basit ve her el farklı geçiyor.|Ürün kırık geldi
        |Strateji oyunlarını seviyorsanız burada saatler geçirirsiniz, ama başlangıç biraz yavaş.""",
    "others in Latin letters": """Mycket bra spel|Snabb leverans|Jag är väldigt besviken på produkten
        |Grafiken är fantastisk men historien är alldeles för kort.|Meget godt spill|Rask levering
        |Min datter elsker denne dukken og leker med den hver dag.|Spillet er sjovt, men alt for kort|Erittäin hyvä peli|Nopea toimitus
        |Tuote hajosi puolen vuoden jälkeen eikä myyjä vastaa viesteihini.|Velmi dobrá hra|Rychlé dodání
        |Po půl roce se ulomila rukojeť a prodejce neodpovídá na zprávy.|Nagyon jó játék|Gyors szállítás
        |A lányom imádja ezt a babát, minden nap játszik vele.|Foarte bun joc|Livrare rapidă
        |Fiica mea adoră această păpușă și se joacă cu ea în fiecare zi.|Trò chơi rất hay|Giao hàng nhanh
        |Con gái tôi rất thích con búp bê này và chơi với nó mỗi ngày.|Game ini sangat bagus
        |Barang datang rusak dan penjual tidak membalas pesan saya.|Pengiriman cepat, kualitas bagus""",
    "other scripts": """Отличная игра|Очень дорого|Моя дочь обожает эту куклу и играет с ней каждый день.
        |Чудова гра, раджу всім|とても楽しい|この商品は届いた時に壊れていました。|ゲーム最高|재미있어요
        |배송이 빨라서 좋았어요. 다음에 또 살게요.|لعبة رائعة جدا|المنتج وصل مكسورا|ดีมาก|สินค้าดี ส่งเร็ว|πολύ καλό παιχνίδι
        |משחק מצוין|बहुत अच्छा खेल|Игра супер, но Steam иногда вылетает|ファミコン GAME BOY|東京の夜はとても静かです
        |게임이 재밌는데 DLC가 비싸요""",
}
CHINESE = {
    "Simplified Chinese": """很好|太贵了|推荐购买|物流很快|游戏不错|浪费时间|木制台灯|系列最佳|性价比很高|质量很好，孩子很喜欢
        |画面精美，剧情太短|收到的时候已经坏了|女士防水登山鞋 38码|在我的电脑上打不开|怎么在家里自己酿啤酒？
        |我女儿非常喜欢这个娃娃，每天都抱着它睡觉。|有没有红色的|客服态度差，再也不买了
        |这款桌游适合全家一起玩，规则简单，每一局都不一样。|用了半年把手就断了，卖家一直不回消息，大家千万别买！|好评|五星|还行吧
        |喜欢策略游戏的朋友可以玩很久，就是开头有点慢。""",
    "Traditional Chinese": """很好玩|太貴了|推薦購買|出貨很快|遊戲不錯|浪費時間|木製檯燈|系列最佳|性價比很高
        |品質很好，小孩很喜歡|畫面精美，劇情太短|收到的時候已經壞了|女用防水登山鞋 38號|在我的電腦上打不開|怎麼在家裡自己釀啤酒？
        |我女兒非常喜歡這個娃娃，每天都抱著它睡覺。|有沒有紅色的|客服態度差，再也不買了
        |這款桌遊適合全家一起玩，規則簡單，每一局都不一樣。|用了半年把手就斷了，賣家一直不回訊息，大家千萬別買！
        |喜歡策略遊戲的朋友可以玩很久，就是開頭有點慢。""",
    "Chinese with English words": """很好玩的游戏 DLC|Steam 上最好的游戏|这个 DLC 很好 really|iPhone 15 手机壳 透明|Nike 跑步鞋 男款 42
        |USB-C 数据线 2米|终于等到 PS5 版了|RGB 机械键盘|和 Counter-Strike 比起来差远了|性价比高，比 Logitech 的好用
        |这个 game 太 boring 了|Python 入门教程""",
}
ENGLISH = """Great game|ok|gg|best game ever|LOL so fun|dont buy this|10/10 would play again
    |WHITE HANGING HEART T-LIGHT HOLDER|Brightfox versatile dice set|Durable chess set, player boards
    |SET OF 3 CAKE TINS PANTRY DESIGN|ALARM CLOCK BAKELIKE RED|Espresso machine, stainless steel|Men's merino base layer
    |café latte mug|Beyoncé tour T-shirt|Pokémon plush toy|jalapeño hot sauce|IKEA Kallax shelf insert|La Roche-Posay sunscreen
    |Nintendo Switch OLED|wireless earbuds|size 9 womens boots|My daughter loves this doll and plays with it every day.
    |The handle broke after half a year and the seller does not answer.|I bought the 红 one for my brother
    |no es bueno, said my friend, but I think the game is really good|runs like crap on linux|pls fix servers|Total War: Rome II"""

# Texts of each real kind that are measured; the library with all its n-grams reads 2,000 a second.
SAMPLE = 3000
MEMORY = """
import sys, time
from benchmarks.languages import RULES
def resident(): return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024
before, started = resident(), time.perf_counter()
RULES[sys.argv[1]]("Sehr gutes Spiel"), RULES[sys.argv[1]]("Great game")
print(time.perf_counter() - started, resident() - before)
"""


def split(joined: str) -> list[str]:
    return [" ".join(text.split()) for text in joined.split("|")]


def by_script(text: str) -> str:
    """What script alone says of a text in Latin letters, Han or others: Latin letters are English."""
    letters, han = sum(map(str.isalpha, text)), sum("\u4e00" <= c <= "\u9fff" for c in text)
    latin = sum(c.isalpha() and c < "\u0250" for c in text)
    weight = {"zh": 3 * han, "en": latin, "other": letters - han - latin}
    return max(weight, key=lambda lang: weight[lang]) if letters else "other"


def by_library(accurate: bool, ratio: float) -> Callable[[str], str]:
    """Other than English where English is less than `ratio` times as probable as the likeliest of the same languages."""
    built: list[object] = []

    def rule(text: str) -> str:
        if by_script(text) != "en":
            return by_script(text)
        if not built:
            from lingua import LanguageDetectorBuilder

            english, _ = texts._detector()
            languages = LanguageDetectorBuilder.from_languages(*(getattr(type(english), name) for name in texts._LATIN_LANGUAGES))
            built.extend((english, (languages if accurate else languages.with_low_accuracy_mode()).build()))
        english, detector = built
        found = {c.language: c.value for c in detector.compute_language_confidence_values(text[: texts.LANGUAGE_CHARS])}  # type: ignore[attr-defined]
        return "other" if found[english] < ratio * max(found.values()) else "en"

    return rule


RULES: dict[str, Callable[[str], str]] = {
    "script alone": by_script,
    "likeliest, trigrams": by_library(False, 1),
    "1 : 2,000, trigrams": by_library(False, 5e-4),
    "likeliest, all n-grams": by_library(True, 1),
    "1 : 10, all n-grams": by_library(True, 0.1),
    "recsys_core.texts": texts.language,
}


def real_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    """(kind, distinct texts) of what lies under `data`, a seeded sample of SAMPLE each; nothing where there is no such folder."""
    for kind, name, column in (
        ("steam reviews", "steam/events.csv.gz", "review"),
        ("stackexchange texts", "stackexchange/events.csv.gz", "text"),
    ):
        if (data / name).exists():
            with gzip.open(data / name, "rt", encoding="utf-8", newline="") as rows:
                yield kind, sample(row[column] or "" for row in csv.DictReader(rows))
    for site, column in (("steam", "title"), ("stackexchange", "title"), ("stackexchange", "body")):
        if (data / site / "items.jsonl.gz").exists():
            with gzip.open(data / site / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
                yield f"{site}, item {column}", sample(json.loads(line).get(column) or "" for line in lines)
    if (data / "online-retail/by-day.tar.gz").exists():
        with tarfile.open(data / "online-retail/by-day.tar.gz") as days:
            files = [io.TextIOWrapper(f, encoding="utf-8", errors="replace") for member in days if (f := days.extractfile(member))]
            yield "online-retail titles", sample(row["Description"] or "" for file in files for row in csv.DictReader(file))


def sample(found: Iterator[str]) -> list[str]:
    distinct = sorted({text for text in found if texts._LATIN_CHARS.search(text) and by_script(text) == "en"})
    return random.Random(0).sample(distinct, min(SAMPLE, len(distinct)))


@click.command(help=__doc__)
@click.option("--shared", type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder whose data/ has real texts")
@click.option("--examples", default=0, help="texts of each real kind to print that the rule calls other")
def main(shared: Path | None, examples: int) -> None:
    """Print a table: rows are kinds of text, columns are rules, cells are shares in per cent."""
    csv.field_size_limit(1 << 30)
    real = dict(real_texts(shared / "data")) if shared else {}
    if not real:
        click.echo("no real texts: name a folder with data/ in it by --shared\n")
    foreign = {lang: split(joined) for lang, joined in FOREIGN.items()}
    latin = [text for lang, found in foreign.items() if lang != "other scripts" for text in found]
    rows: list[tuple[str, str, list[str]]] = [
        *(("other", lang, found) for lang, found in foreign.items()),
        ("other", "  of one to three words", [text for text in latin if len(text.split()) < 4]),
        ("other", "  of more words", [text for text in latin if len(text.split()) > 3]),
        *(("zh", lang, split(joined)) for lang, joined in CHINESE.items()),
        ("en", "English", split(ENGLISH)),
        *(("en", kind, found) for kind, found in real.items()),
    ]
    click.echo(f"{'% told right':30}{'texts':>6}" + "".join(f"{name:>24}" for name in RULES))
    seconds, measured = dict.fromkeys(RULES, 0.0), 0
    for expected, kind, found in rows:
        shares = []
        for name, rule in RULES.items():
            texts._is_english.cache_clear()
            rule(found[0])  # loads what it needs
            started = time.perf_counter()
            shares.append(100 * sum(rule(text) == expected for text in found) / len(found))
            seconds[name] += time.perf_counter() - started
        measured += len(found)
        click.echo(f"{kind:30}{len(found):6}" + "".join(f"{share:24.1f}" for share in shares))
    memory = []
    for name in RULES:
        done = subprocess.run([sys.executable, "-c", MEMORY, name], capture_output=True, text=True, check=True)
        memory.append(tuple(map(float, done.stdout.split())))
    click.echo(f"{'texts a second':36}" + "".join(f"{measured / seconds[name]:24,.0f}" for name in RULES))
    click.echo(f"{'seconds for the first texts':36}" + "".join(f"{first:24.2f}" for first, _ in memory))
    click.echo(f"{'MiB a process':36}" + "".join(f"{mib:24.0f}" for _, mib in memory))
    for kind, found in real.items():
        called = [text for text in found if texts.language(text) == "other"]
        for text in random.Random(0).sample(called, min(examples, len(called))):
            click.echo(f"{kind}: {text[:100]!r}")


if __name__ == "__main__":
    main()
