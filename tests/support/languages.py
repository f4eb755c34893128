"""Prose in ten scripts, drawn from the words of the Universal Declaration of Human Rights, article 1."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Script:
    """Words, divided here by spaces; `space` is what their readers see between them, `stop` what ends a sentence."""

    name: str
    text: str
    space: str = " "
    stop: str = ". "

    @property
    def words(self) -> list[str]:
        return self.text.split()


SCRIPTS = (
    Script(
        name="latin",
        text="All human beings are born free and equal in dignity and rights They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood",
    ),
    Script(
        name="cyrillic",
        text="Все люди рождаются свободными и равными в своем достоинстве и правах Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства",
    ),
    Script(
        name="greek",
        text="Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα Είναι προικισμένοι με λογική και συνείδηση και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης",
    ),
    Script(
        name="arabic",
        text="يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء",
    ),
    Script(
        name="hebrew",
        text="כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם כולם חוננו בתבונה ובמצפון לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחוה",
    ),
    Script(
        name="devanagari",
        text="सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए",
        stop="। ",
    ),
    Script(
        name="thai",
        text="มนุษย์ ทั้งหลาย เกิด มา มี อิสระ และ เสมอภาค กัน ใน เกียรติศักดิ์ และ สิทธิ ต่าง มี เหตุผล และ มโนธรรม และ ควร ปฏิบัติ ต่อกัน ด้วย เจตนารมณ์ แห่ง ภราดรภาพ",
        space="",
        stop=" ",
    ),
    Script(
        name="han",
        text="人人 生 而 自由 ， 在 尊严 和 权利 上 一律 平等 ， 他们 赋有 理性 和 良心 ， 并 应 以 兄弟 关系 的 精神 相 对待",
        space="",
        stop="。",
    ),
    Script(
        name="kana",
        text="すべて の 人間 は 、 生まれ ながら に して 自由 で あり 、 かつ 尊厳 と 権利 と に ついて 平等 で ある 人間 は 、 理性 と 良心 と を 授け られ て おり",
        space="",
        stop="。",
    ),
    Script(
        name="hangul",
        text="모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다",
    ),
)


def prose(script: Script, source: random.Random, characters: int) -> str:
    """At least so many characters, in paragraphs of one to eight sentences."""
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < characters:
        sentences = [source.choices(script.words, k=source.randint(4, 24)) for _ in range(source.randint(1, 8))]
        paragraphs.append("".join(script.space.join(words) + script.stop for words in sentences).strip())
    return "\n\n".join(paragraphs)


def unbroken(script: Script, source: random.Random, characters: int) -> str:
    """As many characters of words, with no space and no punctuation mark."""
    words = [w for w in script.words if w[0].isalpha()]
    return "".join(source.choices(words, k=characters))[:characters]


def book(script: Script, seed: str, chapters: int = 3, characters: int = 20_000) -> str:
    """Chapters that all differ, under headings that are found in a text of any script."""
    source = random.Random(seed)
    return "\n\n".join(f"CHAPTER {n}\n\n{prose(script, source, characters)}" for n in range(1, chapters + 1))
