"""Question/answer pairs about a face whose labels are known, in as many phrasings as a small grammar yields.

A question is built in three independent steps: a *phrase* of a concept ("a goatee", SPECS), a *form* that turns the
phrase into a clause ("does he have a goatee", FORMS), and a *wrapper* around the clause ("can you tell me whether he
has a goatee?"). Forms and wrappers are shared by all labels, and by questions that must be refused, so a model that
learns from the pairs meets every keyword in every frame. A share of the yes/no questions (WRITTEN) comes from whole
sentences that people wrote instead, for what no grammar thinks of. Answers are deterministic functions of the labels.

Notation in the tables: items are separated by ";"; `<slot>` is replaced by a random entry of SLOTS; {s} is the subject
("she"), {owner} its possessive ("the lady's"), {p} the possessive pronoun ("her"), {o} the object form, {x} the phrase
and {b} the phrase without its article.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faceinsight.runtime.labels import FLAGS, GROUPS, LABELS
from faceinsight.runtime.prompt import FACT_NAMES

IDENTITY = "I describe faces; I do not identify people."
OFF_TOPIC = "That is not something I can tell from a face; ask me about its attributes."


@dataclass(frozen=True)
class Exchange:
    """A question and its right answer.

    reading: what the question asks, in the words of the fact line: for a yes/no question the label and all the values
    for which Yes is right ("age 50-64 65+", "beard no"), else "what age", "describe", "who" or "other".
    labels: those the answer rests on, () for a refusal.
    """

    question: str
    reading: str
    answer: str
    labels: tuple[str, ...]


# Answers

UNIONS = {
    "Hair_Color": {"gray or white": ("gray", "white")},
    "Age": {
        "0-49": ("0-34", "35-49"), "0-64": ("0-34", "35-49", "50-64"), "35-64": ("35-49", "50-64"),
        "35+": ("35-49", "50-64", "65+"), "50+": ("50-64", "65+"),
    },
}  # fmt: skip
"""Values a question may name that stand for several values of a group."""

_AGES = {
    "0-34": "under 35 years old", "35-49": "between 35 and 49 years old",
    "50-64": "between 50 and 64 years old", "65+": "65 years old or older",
}  # fmt: skip

_STATES = {
    "Eyeglasses": ("{he} is not wearing eyeglasses", "{he} is wearing eyeglasses"),
    "Smiling": ("{he} is not smiling", "{he} is smiling"),
    "Teeth_Visible": ("{his} teeth are not visible", "{his} teeth are visible"),
    "Mustache": ("{he} does not have a mustache", "{he} has a mustache"),
    "Beard": ("{he} does not have a beard", "{he} has a beard"),
    "Bald": ("{he} is not bald", "{he} is bald"),
    "Receding_Hairline": ("{his} hairline is not receding", "{his} hairline is receding"),
    "Long_Hair": ("{his} {rest}hair is short", "{his} {rest}hair is long"),
    "Wearing_Hat": ("{he} is not wearing a hat", "{he} is wearing a hat"),
    "Wearing_Necktie": ("{he} is not wearing a necktie", "{he} is wearing a necktie"),
}
_WORN = {"Wearing_Hat": "a hat", "Eyeglasses": "eyeglasses", "Wearing_Necktie": "a necktie"}


def answer_yes_no(labels: Mapping, label: str, value: str | bool | None = None, absent: bool = False) -> str:
    """Answers "does `label` have `value`?" (or, with `absent`, "does it not?") with Yes or No and the true state.

    label: one of LABELS, or "Facial_Hair" (mustache or beard). value: for a group one of its values or of its UNIONS;
    for a flag True (also None) or False.
    """
    verdict = _holds(labels, label, True if value is None else value) != absent
    return f"{'Yes' if verdict else 'No'}, {state(labels, label)}."


def answer_what(labels: Mapping, topic: str) -> str:
    """Answers an open question; topic is a key of TOPICS."""
    he, his = _pronouns(labels)
    length, color = "long" if labels["Long_Hair"] else "short", labels["Hair_Color"]
    if topic in ("hair", "hair color", "hair length"):
        look = {"hair": f"{length} and {color}", "hair color": color, "hair length": length}[topic]
        text = f"{he} is bald on top; the remaining hair is {look}" if labels["Bald"] else f"{his} hair is {look}"
    elif topic == "expression":
        manner = f"with {his} " + ("teeth visible" if labels["Teeth_Visible"] else "mouth closed")
        text = f"{he} is smiling {manner}" if labels["Smiling"] else f"{his} expression is neutral"
    elif topic == "wearing":
        worn = [thing for name, thing in _WORN.items() if labels[name]]
        text = f"{he} is wearing {_join(worn, 'and')}" if worn else "no hat, eyeglasses or necktie is visible"
    elif topic == "baldness" and labels["Bald"]:
        text = f"{he} is bald on top"
    elif topic == "baldness" and not labels["Receding_Hairline"]:
        text = f"{he} is not bald, and {his} hairline is not receding"
    else:
        compound = {"baldness": "Receding_Hairline", "facial hair": "Facial_Hair"}
        text = state(labels, compound.get(topic, TOPICS[topic].labels[0]))
    return text[0].upper() + text[1:] + "."


def describe(labels: Mapping) -> str:
    """The description of the whole face, three or four sentences."""
    he, _ = _pronouns(labels)
    hair = f"{'long' if labels['Long_Hair'] else 'short'} {labels['Hair_Color']} hair"
    if labels["Bald"]:
        hair = f", bald on top; the remaining hair is {hair.removesuffix(' hair').replace(' ', ' and ')}"
    else:
        hair = f" with {hair}" + (" and a receding hairline" if labels["Receding_Hairline"] else "")
    noun = "man" if labels["Gender"] == "male" else "woman"
    facial = [answer_what(labels, "facial hair")] if noun == "man" else []
    worn = [thing for name, thing in _WORN.items() if labels[name]]
    missing = [thing for thing in _WORN.values() if thing not in worn]
    outfit = f"is wearing {_join(worn, 'and')}" if worn else f"is not wearing {_join(missing, 'or')}"
    if worn and missing:
        outfit += f", but no {_join([_bare(thing) for thing in missing], 'or')}"
    first = f"A {noun} {_AGES[labels['Age']]}{hair}."
    return " ".join([first, answer_what(labels, "expression"), *facial, f"{he.capitalize()} {outfit}."])


def _holds(labels: Mapping, label: str, value: str | bool) -> bool:
    if label == "Facial_Hair":
        return (labels["Mustache"] or labels["Beard"]) == value
    if label in GROUPS:
        return labels[label] in UNIONS.get(label, {}).get(value, (value,))
    return bool(labels[label]) == value


def state(labels: Mapping, label: str) -> str:
    """The canonical sentence for the true value of a label, without capital and full stop."""
    he, his = _pronouns(labels)
    rest = "remaining " if labels["Bald"] else ""
    if label == "Gender":
        return "this is a man" if labels["Gender"] == "male" else "this is a woman"
    if label == "Age":
        return f"{he} looks {_AGES[labels['Age']]}"
    if label == "Hair_Color":
        return f"{his} {rest}hair is {labels['Hair_Color']}"
    if label == "Facial_Hair":
        kinds = {
            (True, True): "a mustache and a beard", (True, False): "a mustache but no beard",
            (False, True): "a beard but no mustache", (False, False): "no facial hair",
        }  # fmt: skip
        return f"{he} has {kinds[bool(labels['Mustache']), bool(labels['Beard'])]}"
    return _STATES[label][bool(labels[label])].format(he=he, his=his, rest=rest)


def _pronouns(labels: Mapping) -> tuple[str, str]:
    return ("he", "his") if labels["Gender"] == "male" else ("she", "her")


def _join(things: list[str], word: str) -> str:
    return f" {word} ".join(filter(None, [", ".join(things[:-1]), things[-1]]))


# Vocabulary


def _words(text: str) -> tuple[str, ...]:
    """The items of a table; line breaks count as spaces."""
    return tuple(" ".join(item.split()) for item in text.split(";"))


def _concept(**phrases: str) -> dict[str, tuple[str, ...]]:
    """Phrases by category (a key of FORMS), and places (`at`); items of `part` and `tint` read "part=state"."""
    return {category: _words(text) for category, text in phrases.items()}


def _hair(shades: str, **more: str) -> dict[str, tuple[str, ...]]:
    """A concept of hair that is each of `shades`."""
    items = _words(shades)
    nouns = [f"{shade} {noun}" for shade in items for noun in ("hair", "<hair>")]
    return {
        "tint": tuple(f"hair={shade}" for shade in items), "noun": tuple(nouns),
        "be": tuple(f"{shade}-haired" for shade in items), **_concept(**more),
    }  # fmt: skip


def _ages(low: int, high: int, **more: str) -> dict[str, tuple[str, ...]]:
    """A concept of an age group, with the plain numbers that lie well inside it."""
    numbers = f"<about> <{low}to{high}>; <about> <{low}to{high}> years old; aged <about> <{low}to{high}>"
    return _concept(**{**more, "be": f"{more['be']}; {numbers}"})


SPECS = {
    "Gender": {
        "male": _concept(
            kind="a man; a male; a guy; a gentleman; a boy; a dude; a fellow; a bloke; a chap; a lad; a male person",
            adj="male; masculine", have="a male face; masculine features; manly features"),
        "female": _concept(
            kind="a woman; a female; a lady; a girl; a gal; a lass; a female person; a gentlewoman",
            adj="female; feminine", have="a female face; feminine features; womanly features"),
    },
    "Age": {
        "0-34": _ages(18, 33, adj="""young; youthful; younger than 35; rather young""", kind="""a young person; a young
            adult; a youngster; a twenty-something""", be="""under 35; below 35; under 35 years old; in {p} twenties; in
                {p} 20s; less than 35; not yet 35; aged under 35; 34 or younger; at most 34; still young; in {p}
                youth"""),
        "35-49": _ages(36, 48, be="""between 35 and 49; in {p} forties; in {p} 40s; from 35 to 49 years old; 35 to
            49; aged 35-49; 35-49; somewhere between 35 and 49; in the 35 to 49 group""", kind="a forty-something"),
        "50-64": _ages(51, 63, be="""between 50 and 64; in {p} fifties; in {p} 50s; from 50 to 64 years old; 50 to
            64; aged 50-64; 50-64; somewhere between 50 and 64; in the 50 to 64 group""", kind="a fifty-something"),
        "65+": _ages(66, 90, adj="old; elderly; aged; older than 65; very old", kind="""a senior citizen; a senior;
            an old person; a pensioner; an elderly person; an oldster; a seventy-something; an old-timer""",
            be="""over 65; 65 or older; at least 65; above 65; past 65; more than 65; in {p} seventies; in {p} 80s;
                in {p} eighties; in {p} 70s; 65 plus; 65+; of retirement age; in old age"""),
        "35-64": _concept(adj="middle-aged; middle aged", be="in middle age; in midlife; between 35 and 64; 35 to 64",
            kind="a middle-aged person; a mid-life adult"),
        "0-49": _concept(be="under 50; below 50; younger than 50; not yet 50; less than 50 years old"),
        "50+": _concept(be="over 50; 50 or older; at least 50; past 50; above 50; older than 50"),
        "0-64": _concept(be="under 65; below 65; younger than 65; not yet 65; less than 65 years old"),
        "35+": _concept(be="over 35; 35 or older; at least 35; past 35; above 35; older than 34"),
    },
    "Hair_Color": {
        "black": _hair("black; jet-black; raven; raven-black; ebony; coal-black; pitch-black; inky"),
        "brown": _hair("brown; chestnut; dark-brown; light-brown; brunette; chocolate; hazel-brown; brownish",
            kind="a brunette; a brunet"),
        "blond": _hair("""blond; blonde; fair; golden; flaxen; yellow; honey-blond; straw-blond""", kind="""a blonde; a
            blond"""),
        "red": _hair("red; ginger; reddish; copper; orange; flame-red; carroty; rust-red", kind="a redhead; a ginger"),
        "gray": _hair("gray; grey; ash-gray; slate-grey; iron-gray; steel-grey; grayish; greyish"),
        "white": _hair("white; snow-white; snowy; pure-white; whitish; milk-white; ivory; chalk-white"),
        "gray or white": _hair("gray or white; grey or white; silver; silvery; white or gray; hoary", has="""gone
            grey; gone gray; turned grey; gone grey or white""",
            be="silver-haired; going gray; grizzled; silver on top"),
    },
    "Eyeglasses": {True: _concept(
        wear="""glasses; eyeglasses; spectacles; specs; eyewear; a pair of glasses; a pair of specs; frames;
            shades; reading glasses; lenses; goggles; sunglasses; a pince-nez; prescription glasses""",
            adj="bespectacled",
        kind="a glasses wearer; a wearer of glasses; someone with glasses",
        verb="wear glasses; use glasses; wear specs",
        part="""eyes=behind glasses; eyes=framed by glasses; eyes=covered by glasses; face=framed by glasses;
            nose=topped by glasses""",
        at="on {p} face; on {p} nose; over {p} eyes")},
    "Smiling": {
        True: _concept(verb="""smile; grin; beam; give a smile; look happy; crack a smile; wear a smile; smile at us""",
            act="lips=smile; mouth=smile; face=light up; lips=curl up",
            be="""smiling; grinning; beaming; happy looking; cheerful looking; all smiles; smiling
            happily; giving a smile; flashing a grin""", adj="happy; cheerful; cheery; joyful; merry; jolly; smiley",
            have="a smile; a grin; a big smile; a happy face; a cheerful expression; a smile on {p} face; a happy look",
            noun="a smile; a grin; a broad smile; a slight smile; a smirk; a friendly smile"),
        False: _concept(verb="look serious; keep a straight face; look stern; stay serious", adj="""serious; stern;
            solemn; grave; straight-faced; unsmiling; deadpan; expressionless;
            neutral""",
            have="""a neutral expression; a serious look; a straight face; a blank expression; a stern look; a
                poker face; a serious face; a sober expression"""),
    },
    "Teeth_Visible": {
        True: _concept(verb="show {p} teeth; show some teeth; bare {p} teeth; flash some teeth; reveal {p} teeth",
            act="teeth=show; teeth=appear; teeth=peek out; teeth=come into view",
            part="teeth=visible; teeth=showing; teeth=on show; teeth=exposed; teeth=in view; teeth=bared",
            be="showing {p} teeth; baring {p} teeth; flashing {p} pearly whites; showing some teeth; displaying teeth",
            seen="teeth; pearly whites; front teeth; a row of teeth; the teeth; some teeth"),
        False: _concept(part="""mouth=closed; mouth=shut; lips=closed; lips=together; lips=sealed; teeth=hidden;
            teeth=covered""", be="hiding {p} teeth; keeping {p} lips together", have="a closed mouth; closed lips"),
    },
    "Mustache": {
        True: _concept(noun="""a mustache; a moustache; a 'stache; a stache; a handlebar mustache; hair on {p}
            upper lip; a thin moustache; a bushy mustache; a tash; hair under {p} nose; whiskers above {p} lip""",
            has="grown a mustache; let a mustache grow", verb="wear a mustache; sport a mustache; keep a mustache",
            part="upper lip=covered by a mustache; upper lip=hairy; mouth=topped by a mustache; lip=under a mustache",
            adj="mustached; moustached; mustachioed", at="on {p} face; on {p} upper lip; under {p} nose"),
        False: _concept(have="a bare upper lip; a smooth upper lip; a shaved upper lip; a hairless upper lip"),
    },
    "Beard": {
        True: _concept(noun="""a beard; a full beard; a goatee; whiskers; stubble; chin hair; hair on {p} chin; a
            bushy beard; a trimmed beard; side whiskers; chin whiskers""", adj="""bearded;
                stubbly; whiskered""",
                verb="wear a beard; sport a beard; keep a beard", part="""chin=covered by a beard; jaw=covered by a
            beard;
                chin=bearded; chin=hairy; chin=hidden by a beard; cheeks=bearded""",
                has="grown a beard; let {p} beard grow", at="on {p} face; on {p} chin; on {p} jaw"),
        False: _concept(part="chin=shaved; chin=bare; jaw=smooth; chin=free of a beard", adj="beardless",
            have="a bare chin; a smooth chin; a shaved chin; a hairless chin"),
    },
    "Facial_Hair": {
        True: _concept(noun="""facial hair; hair on {p} face; face fuzz; a beard or a mustache; a mustache or
            beard; some facial hair; a moustache or a beard; a hairy face; any kind of beard or mustache""",
            adj="unshaven"),
        False: _concept(adj="clean-shaven; clean shaven; smooth-shaven; freshly shaven; shaven; cleanly shaved",
            have="""a clean-shaven face; a shaved face; a smooth-shaven face; a hairless face""", has="""shaved; shaved
                {p} face"""),
    },
    "Bald": {
        True: _concept(adj="bald; bald-headed; hairless on top; bald on top; totally bald; completely bald; baldheaded",
            have="""a bald head; a shiny scalp; a hairless head; a bare scalp; a bald crown; a bald top; a bald
                pate""", none="""no hair on top; no hair; no hair on {p} head; no hair left""", has="""lost {p}
                hair; gone bald; lost all {p} hair; turned bald; become bald""", part="""head=bald; crown=bald;
            scalp=bare;
                top of the head=bald; top of the head=hairless;
            scalp=showing""", kind="a bald person; a baldy; a bald one"),
        False: _concept(noun="hair on {p} head; hair on top; a head of hair", has="kept {p} hair"),
    },
    "Receding_Hairline": {True: _concept(
        part="""hairline=receding; hairline=going back; hairline=moving back; hairline=retreating; hairline=pulling
            back; hairline=high; hair=thinning at the temples; hair=receding; temples=thinning""", be="""thinning at the
            temples; losing hair at the temples; receding at the temples; receding; balding at the temples; thin at
            the temples""",
        act="hairline=recede; hairline=retreat; hairline=move back; hair=thin at the temples; hairline=go back",
        has="begun to lose hair at the temples; started to thin at the temples; lost hair at the temples",
        noun="""a receding hairline; a high forehead; a high hairline; thinning temples; a receded hairline; a
            hairline going back; thin hair at the temples; a retreating hairline""")},
    "Long_Hair": {
        True: _hair("long; shoulder-length; quite long; very long; flowing", be="long-haired"),
        False: _hair("short; cropped; close-cropped; very short; clipped", be="short-haired", has="cut {p} hair short"),
    },
    "Wearing_Hat": {
        True: _concept(wear="""a hat; a cap; headgear; headwear; a helmet; a beanie; a fedora; a bowler; a top hat;
            a bonnet; a head covering; a beret; a baseball cap; some kind of hat; a cowboy hat; a hood""",
            part="""head=covered; head=covered by a hat; head=under a hat; head=topped by a hat; head=covered with
                a cap; hair=hidden under a hat""", verb="wear a hat; wear a cap; use a hat", at="on {p} head"),
        False: _concept(part="head=bare; head=uncovered; head=without a hat", adj="bareheaded; bare-headed; hatless",
            have="a bare head; an uncovered head"),
    },
    "Wearing_Necktie": {
        True: _concept(wear="""a tie; a necktie; a bow tie; a cravat; neckwear; a bowtie; a neck tie; a knotted
            tie; some kind of tie; a formal
            tie""", verb="wear a tie; wear a necktie; wear a bow tie", part="""collar=closed
                by a tie; neck=dressed with a tie; shirt=worn with a tie; collar=tied; outfit=finished by a
            tie""", at="around {p} neck; at {p} collar"),
        False: _concept(adj="tieless; open-collared", have="an open collar; a tieless collar"),
    },
}  # fmt: skip
"""Label -> value -> concept: everything a yes/no question can ask about."""

WRITTEN_SHARE = 0.45
_CHOICE = re.compile(r"<([^<>]*\|[^<>]*)>")
_AGREEMENT = {
    "is": "are", "isn't": "aren't", "does": "do", "doesn't": "don't", "has": "have", "hasn't": "haven't",
    "was": "were", "wears": "wear", "looks": "look", "shows": "show", "sports": "sport", "owns": "own", "keeps": "keep",
}  # fmt: skip


def _read_written() -> dict[str, dict[str | bool, list[str]]]:
    path = Path(__file__).with_name("written_questions.toml")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    flags = {"yes": True, "no": False}
    return {
        label: {flags.get(value, value): questions for value, questions in table.items()}
        for label, table in tables.items()
    }


WRITTEN = _read_written()
"""Label -> value -> whole yes/no questions for which Yes means that the value holds."""

UNKNOWN = _concept(
    adj="""rich; poor; kind; honest; clever; smart; married; single; sick; healthy; tired; angry; sad; lonely;
        jealous; afraid; attractive; handsome; beautiful; pretty; ugly; religious; dangerous; trustworthy; drunk;
        tall; fat; strong; nervous; bored; depressed; in love; guilty; hungry; well educated; friendly;
        lazy; pregnant; gay; sexy; cute; funny""",
    kind="""a Christian; a Muslim; a Hindu; a Jew; an American; an Asian; a foreigner; a doctor; a teacher; a
        criminal; a vegan; a good person; a parent; a lawyer; a Democrat; a Republican; a liar; a soldier; an
        artist; a student; a nurse""",
    have="""children; a dog; money; a car; a good heart; a degree; cancer; blue eyes; green eyes; brown eyes; a
        job; a temper; an accent; white teeth; big ears; gray eyes; long legs; a black car; a red nose""",
    wear="""shoes; a jacket; a red tie; a black hat; earrings; a necklace; gloves; a watch; a shirt; boots; a
        scarf; a ring; lipstick; makeup; trousers; a blue tie; a brown coat; a uniform; a dress; perfume; jeans; a
        wig; a belt; a white hat""",
    part="""eyes=blue; eyes=brown; eyes=black; eyes=gray; tie=red; shirt=white; jacket=black; hat=brown; nose=big;
        ears=large; shoes=brown; skin=dark; skin=pale; coat=long; car=black; dog=old; glasses=expensive; tie=long;
        house=white; legs=long""",
)
"""What people ask about a person that the labels do not tell."""


@dataclass(frozen=True)
class Topic:
    """An open question: the labels its answer rests on, noun phrases for it and "wh|auxiliary|subject|rest" clauses."""

    labels: tuple[str, ...]
    nouns: tuple[str, ...]
    clauses: tuple[str, ...]


def _topic(labels: str, nouns: str, clauses: str) -> Topic:
    return Topic(tuple(labels.split()), _words(nouns), _words(clauses))


TOPICS = {
    "hair color": _topic("Hair_Color Bald", """hair color; hair colour; shade of hair; color of hair; colour of
        hair; hair tone; hair shade; natural hair color""",
        """what color|would|you|call {owner} hair; what color|would|you|say {owner} hair is; which color|is|{owner}
            <hair>|; what colour|has|{owner} hair|; which shade|does|{owner} hair|have; what color|is|the hair on
            {owner}
            head|; what colour|do|you|see in {owner} hair; what color|is|{owner} <hair>|; what colour|is|{owner}
            hair|; what
            shade|is|{owner} hair|; what color hair|does|{s}|have; which colour|does|{owner} hair|have; what hair
            colour|does|{s}|have"""),
    "age": _topic("Age", """age; age group; approximate age; age range; apparent age; rough age; age bracket; age
        category""",
        """how old|would|you|say {s} is; how old|could|{s}|be; how old|might|{s}|be; how many years|does|{s}|have;
            what age|would|you|give {o}; how old|do|you|think {s} is; what age|could|{s}|be; which age group|is|{s}|in;
            what|would|you|guess {owner} age is; what age|would|you|put {o} at; how old|is|{s}|; how
            old|does|{s}|look; how old|does|{s}|seem; what age|is|{s}|; how many years
            old|is|{s}|; what age group|is|{s}|in; how young or old|is|{s}|; what age|does|{s}|look"""),
    "gender": _topic("Gender", "gender; sex; apparent gender; apparent sex", """what gender|would|you|say {s} is;
        what sex|would|you|guess {s} is; which gender|does|the face|have; which sex|is|{s}|; what gender|do|you|see;
        what gender|is|{s}|; what
        sex|is|{s}|; which gender|is|{s}|; what gender|does|{s}|appear to be; which sex|does|{s}|look like"""),
    "expression": _topic("Smiling Teeth_Visible", """expression; facial expression; face expression; look; mood on
        the face""", """what
        expression|does|{s}|have; what expression|is|on {owner} face|; what look|does|{s}|have on {p} face; what
        kind of smile|does|{s}|have; what|is|{owner} mouth|doing; which expression|does|{s}|show; what facial
        expression|does|{s}|wear"""),
    "facial hair": _topic("Mustache Beard", """facial hair; facial hair style; beard style; beard and mustache;
        type of facial hair""", """what facial hair|does|{s}|have; what kind of facial hair|does|{s}|have; what
            sort of beard or mustache|does|{s}|have; which facial hair|does|{s}|wear; what hair|does|{s}|have on
            {p} face; how much facial hair|does|{s}|have; what beard|does|{s}|have"""),
    "hair length": _topic("Long_Hair Bald", "hair length; hairstyle; length of hair; hair style; haircut; hairdo",
        """how long|is|{owner} <hair>|; how short|is|{owner} hair|; what length|is|{owner} hair|; what
            hairstyle|does|{s}|have; what kind of haircut|does|{s}|have; what hair length|does|{s}|have"""),
    "hair": _topic("Hair_Color Long_Hair Bald", """hair; locks; kind of hair; type of hair""", """what|does|{owner}
        hair|look like; what|is|{owner} hair|like; what kind of hair|does|{s}|have; what sort of
        hair|does|{s}|have; what type of hair|does|{s}|have"""),
    "wearing": _topic("Wearing_Hat Eyeglasses Wearing_Necktie", """accessories; worn items; outfit; accessory""",
    """what|is|{s}|wearing;
        what accessories|does|{s}|have; what accessories|is|{s}|wearing; what|does|{s}|have on; what|does|{s}|wear;
        which accessories|does|{s}|wear; what things|is|{s}|wearing"""),
    "baldness": _topic("Bald Receding_Hairline", "hairline; baldness; hairline state; hair loss; degree of baldness",
        """how bald|is|{s}|; how much hair|does|{s}|have on top; how|does|{owner} hairline|look; how much
            hair|has|{s}|lost; what kind of hairline|does|{s}|have; how far back|is|{owner} hairline|; how
            thin|is|{owner} hair|on top"""),
    "hat": _topic("Wearing_Hat", """headwear; headgear; head covering""", """what|is|{s}|wearing on {p} head;
        what|does|{s}|have on {p} head; what kind of hat|does|{s}|wear; what headgear|does|{s}|have on"""),
    "eyeglasses": _topic("Eyeglasses", """eyewear; kind of eyewear""", """what|is|{s}|wearing on {p} nose; what
        eyewear|does|{s}|have; what|does|{s}|wear over {p} eyes; what kind of glasses|is|{s}|wearing;
        what|does|{s}|have in front of {p} eyes"""),
    "necktie": _topic("Wearing_Necktie", """neckwear; kind of neckwear""", """what|is|{s}|wearing around {p} neck; what
        neckwear|does|{s}|have; what|does|{s}|have around {p} neck; what kind of tie|is|{s}|wearing"""),
}  # fmt: skip

UNKNOWN_TOPIC = _topic("", """job; height; weight; nationality; religion; ethnicity; race; eye color; eye colour;
    shoe size; mood; personality; salary; address; phone number; birthday; favorite food; wife; mother; hobby;
    voice; tie color; hat size; shirt color; skin color; health; education; accent; blood type; car; dog; opinion;
    political party; language; income; family; beard length; hair brand; glasses brand; tie colour; hat color;
    character; star sign; house; coat color""",
    """what color|are|{owner} eyes|; what colour|are|{owner} eyes|; what color|is|{owner} <garment>|; what
        colour|is|{owner} <garment>|; how tall|is|{s}|; how heavy|is|{s}|; where|is|{s}|from; where|does|{s}|live;
        what|does|{s}|do for a living; how much|does|{s}|weigh; how much|does|{s}|earn; what|does|{s}|think about;
        what|is|{s}|thinking; why|is|{s}|here; what language|does|{s}|speak; how|does|{s}|feel; how rich|is|{s}|;
        how old|is|{owner} <thing>|; what|does|{s}|eat; what size|is|{owner} <garment>|; what color|is|{owner}
        <thing>|; how long|is|{owner} <garment>|; how old|is|{owner} <kin>|; how smart|is|{s}|; what kind of
        music|does|{s}|like; what|is|{s}|holding; how many children|does|{s}|have; when|is|{s}|free; what
        color|is|{owner} <animal>|; what|does|{owner} <kin>|look like; how attractive|is|{s}|"""
)  # fmt: skip

EITHER_OR = {
    "Gender": "gender", "Age": "age", "Hair_Color": "hair color", "Long_Hair": "hair length", "Smiling": "expression",
    "Facial_Hair": "facial hair",
}  # fmt: skip
"""Labels whose values are offered as alternatives ("is she smiling or serious?"), and the topic that answers."""

DESCRIBE = _words("""describe <whole>; describe <whole> <how>; what do you see; what can you see <here>; tell me
    about <whole>; caption <this>; tell me everything about <whole>; give me a <short> description of <whole>;
    write a <short> caption for <this>; what does {s} look like; how does {s} look; <ask> describe <whole>; <ask>
    describe <whole> <how>; what is in <this>; summarize <whole>; give a <short> summary of <whole>; list the
    attributes of <whole>; describe {o}; how would you describe <whole>; I need a <short> description of <whole>;
    what can you tell me about <whole>; a <short> caption please; what are {owner} features; describe what you see
    <here>; what is visible <here>; say something about <whole>; which attributes does {s} have; paint me a picture
    of <whole> in words; what stands out about <whole>; let me know what {s} looks like; description; full
    description please; <ask> give me a <short> description of <whole>"""
)  # fmt: skip

IDENTIFY = _words("""who is this; who is {s}; who is <person>; what is {owner} name; is this <name>; is {s} <name>;
    is this <name>; do you recognise {o}; do you recognize <person>; which celebrity is <it>; is this <role>; name
    <person>; identify <person>; does {s} look like <name>; could this be <name>; is <it> <name> or <name>; who
    does {s} look like; is {s} called <name>; <ask> tell me who {s} is; <ask> tell me if this is <name>; tell me
    {owner} name; who am I looking at; do you know {o}; this is <name>, right; is that <name>; <name>; is {s}
    <role>; are you able to identify {o}; what is {owner} <part> name; which <job> is this; have you seen {o}
    before; is {s} <name>; who might this be; isn't this <name>; whose face is this; I think this is <name>; can
    you recognise <person>; what do people call {o}; is this person <name>; who looks like this; does this person
    look like <name>; does {s} resemble <name>; is {s} related to <name>; <ask> identify {o}; do you think this is
    <name>; guess who this is; is this face <name>; is <name> in the <picture>; isn't {s} <name>; find {o} on the
    internet; what is {s} called; who do you think {s} is; do you
    know who {s} is; could you give me {owner} name; where do I know {o} from; what should I call {o}; put a name to
    this face; does {s} have a name; who could {s} be; is {s} famous; is {s} well known; is this a known face; have I
    met {o}; whose <picture> is this; who is the person; any idea who {s} is; which person is this; is this the same
            person as <name>; tell me the name of <person>"""
)  # fmt: skip

GENERAL = _words("""is the <thing> <color>; what color is the <thing>; what colour is the <thing>; how old is the
    <thing>; what is <digit> plus <digit>; what is <digit> times <digit>; how do I cook <food>; how do I fix a
    <thing>; who won the <sport> game; what is the weather in <city>; will it rain <when>; hello; hi there; good
    morning; thank you; how are you; what time is it; write a <thing> poem; write <code> code; who wrote the
    <thing> song; where is <city>; how far is <city>; how many people live in <city>; is the <food> <color>; what
    is the price of a <thing>; can <animal>s swim; does the <animal> have <feature>; is the <animal> <quality>;
    what does a <animal> eat; is there a <thing> in the background; what is in the background; is the room
    <quality>; is the <thing> <quality>; does the <thing> have <feature>; do you like <food>; tell me a joke;
    translate <thing> into <tongue>; what is the capital of <city>; is <city> <quality>; who should I vote for;
    play some music; what is love; who are you; what can you do for my <thing>; what is the meaning of life; where
    was the <picture> taken; when was this <picture> taken; what camera was used; open the <thing>; how long is the
    <thing>; is my <animal> <quality>; does my <kin> have <feature>; is your <thing> <color>; do you have
    <feature>; are you <quality>; what color is my hair; how old are you; describe the <thing>; describe the
    background; describe your <animal>; what do you see in the <thing>; tell me about <city>; tell me about the
    <animal>; how old is the <animal>; what is a <thing>; what is a <animal>; any <food>; <thing>; <animal>; where
    can I buy <food>; where can I buy a <thing>; is it raining; is the sky <color>; what color is the sky; who
    invented the <thing>; which <sport> team is best; explain <science>; is <science> hard; solve x + <digit> =
    <digit>; I love <food>; see you <when>; is the wall <color>; what should I wear <when>; book a table for
    <when>; how much does a <thing> cost; is the light on; is a <animal> bigger than a <animal>; is the <picture>
    old; is the <picture> black and white; why is the <thing> <color>; name a <animal>; is there <food> on the
    <thing>; hat tricks in <sport>; how do I tie a knot; how do glasses work; why do people smile; how do I grow a
    beard; how can I whiten my teeth; <letters>; what is the age of the <thing>; is the <thing> <digit> years old;
    how many <thing>s are there; <letters> <letters>; <city>"""
)  # fmt: skip

SLOTS = {name: _words(text) for name, text in {
    "hair": "hair; locks; tresses", "about": "; ; about; around; roughly; probably; some",
    "picture": """picture; photo; image; portrait; photograph; shot; snapshot; pic; frame""", "here": """here; in this
        <picture>;""",
    "this": """this; this <picture>; the <picture>; this face; the face""", "how": """briefly; in detail; in a few
        words; for me; please""",
    "short": """; short; brief; detailed; quick; full; one-line""", "it": """it; this; that""",
    "kin": """brother; mother;
        son; wife; uncle""",
    "whole": """this face; the face; this person; the person; {o}; the person in the <picture>; this <picture>; the
        <picture>; the subject; this individual; the one in the <picture>""",
        "person": """this person; the person; the person in
        the <picture>; this individual; the face; the one in the <picture>; the subject""",
    "ask": """can you; could you; please; would you; can you please; could you please; will you; kindly; I want you
        to; try to""",
    "tell": "tell me; say; check; see; work out; determine; find out; let me know; make out; verify; judge; report",
    "if": """if; whether""", "opener": """hey; hi; so; please; ok; excuse me; quick question; tell me; well; now;
        question; um; listen; looking at this <picture>; in this <picture>; judging by the <picture>; from this
        <picture>; going by the face; in the <picture>; just curious; based on the <picture>; in your view; as far
        as you can see; I was wondering; sorry; one thing; first of all; looking closely; honestly; just to be sure;
        by the way; to start with; if you look closely; be honest; let me ask""",
    "closer": """in this <picture>; in the <picture>; here; , please; please; , in your opinion; at all; , do you
        know; , thanks; to you; for the <picture>; on camera; at the moment; right now; today; or not; or am I wrong; as
        far as you can tell; from what you see; , would you say; , do you think; , can you tell; , what do you think;
            when
        you look closely; in your view; by any chance; from this angle; in the shot; , I wonder; , if you can tell; to
        your eye; as you see it; from here""",
    "adverb": """really; actually; clearly; currently; still; perhaps; maybe; indeed; possibly; definitely; by chance;
        already; now; just; obviously; plainly; by any chance; in fact; truly; at least partly""",
    "garment": "tie; shirt; hat; jacket; coat; dress; scarf; suit; shoe; belt; bag; watch; glove",
    "color": "black; brown; blond; red; gray; grey; white; blue; green; yellow; pink; purple; silver",
    "quality": """black; white; red; gray; old; young; bald; smiling; happy; male; female; big; long; short;
        hungry; broken; clean; wearing a hat; wearing glasses; bearded; cold; quiet; over 65; middle-aged; serious;
        expensive""",
    "feature": """a beard; a mustache; whiskers; glasses; long hair; gray hair; teeth; a hat; a tie; a tail; wings;
        wheels; four legs; a smile; a roof; fur; no hair; white hair; a long neck""",
    "thing": """car; house; table; chair; phone; book; computer; bridge; bicycle; lamp; door; window; boat; train;
        guitar; cup; clock; pen; bottle; shoe; tree; flower; coffee; kettle; road; piano; carpet; curtain; bus;
        truck; oven; knife; ball; castle; church""",
    "animal": """dog; cat; horse; goat; bird; cow; lion; walrus; fish; rabbit; monkey; sheep; bear; mouse; tiger;
        parrot; pig; duck""",
    "food": """coffee; bread; rice; pasta; soup; cheese; chicken; tea; cake; pizza; eggs; milk; salad; beans;
        chocolate; apples""",
    "city": """Paris; London; Tokyo; Berlin; Rome; Chicago; Madrid; Cairo; Boston; Texas; China; Brazil; Canada;
        Mars; Ohio; Delhi""",
    "sport": """football; tennis; baseball; hockey; golf; chess; rugby; cricket; basketball""", "tongue": """French;
        German; Spanish; Latin""",
    "when": """today; tomorrow; tonight; next week; on Monday; on Sunday; at noon; in June""", "code": """Python; Java;
        C; HTML; SQL""",
    "science": """gravity; physics; algebra; chemistry; history; evolution; taxes; grammar; the stock market;
        geometry; politics""",
    "part": """first; last; full; real; family; middle""", "job": """actor; actress; politician; singer; senator;
        athlete; president; king""",
    "role": """the president; a celebrity; someone famous; a senator; an actor; a movie star; my uncle; the king;
        the pope; the prime minister; a famous singer; a politician; my neighbour; the man from the news; somebody
        I know; the governor; a TV star; famous; somebody famous; anyone famous; a well-known person""",
    "name": """<first> <last>; <first> <last>; <famous>; <famous>; <title> <last>; <made> <made>; <first> <made>;
    <first> <odd>; <title> <odd>;
        <made>; <first>; <last>""", "title": "Mr; Mrs; Ms; Dr; Senator; President; Professor; Sir; Judge",
    "first": """James; Mary; John; Linda; Robert; Susan; Michael; Karen; David; Nancy; Maria; Ahmed; Wei; Olga;
        Hans; Priya; Carlos; Fatima; Yuki; Pierre; Anna; George; Emma; Rose; Frank; Grace; Tom; Lucy; Omar; Ivan;
        Will; Bill; Jack; Amber""",
    "last": """Smith; Johnson; Garcia; Miller; Davis; Chen; Singh;
        Mueller; Rossi; Silva; Kim; Jones; Taylor; Clark; Hall; Reed; Olds; Hatton;
        Glass; Mann; Lopez; Adams; Kennedy; Bush""",
        "odd": "Brown; White; Black; Gray; Young; Long; Beard; Short; King; Green",
    "famous": """Barack Obama; Taylor Swift; Abraham Lincoln; Elvis Presley; Brad Pitt; Tom Hanks; Angela Merkel;
        Madonna; Beyonce; Albert Einstein; Donald Trump; Joe Biden; Marilyn Monroe; Tom Cruise; Oprah Winfrey; Bill
        Gates; Elon Musk; Nelson Mandela; Winston Churchill; George Washington; Lady Gaga; Hillary Clinton; Ronald
        Reagan; Julia Roberts; Lionel Messi; Gandhi""",
}.items()}  # fmt: skip

# Forms and wrappers

_HAVE = _words("""does|{s}|have {x}; does|{s}|have {x}; has|{s}|got {x}; does|{s}|have {x}; has|{s}|got {x};
    does|{s}|sport {x}; does|{s}|show {x}; is|{s}|sporting {x}; is|{s}|with {x}; is|{s}|someone with {x};
    does|{s}|feature {x}; is|{s}|a person with {x}; does|{s}|come with {x}""")
_SEEN = _words("""is|there|{x} <at>; is|{x}|visible; can|{x}|be seen; can|you|see {x} <at>; do|you|see {x} <at>;
    does|the face|show {x}; do|you|notice {x} <at>; can|you|spot {x}; does|the <picture>|show {x}; is|{x}|present;
            is|{x}|to be seen;
    is|there|any sign of {b}; is|{x}|on display; could|you|point out {x}; do|I|see {x}; can|I|see {x}; is|there|{x} to
    be seen; does|this face|have {x}; do|you|make out {x}; do|you|detect {x}; would|you|notice {x}; is|{x}|in the
    <picture>; can|you|find {x} <at>; is|there|{x} in the <picture>"""
)  # fmt: skip
FORMS = {
    "adj": _words("""is|{s}|{x}; is|{s}|{x}; does|{s}|look {x}; does|{s}|seem {x}; does|{s}|appear {x};
        does|{s}|seem to be {x}; would|you|call {o} {x}; would|you|describe {o} as {x}; could|{s}|be {x}; do|you|find
        {o} {x}; does|{s}|strike you as {x}; would|you|consider {o} {x}; does|{s}|come across as {x}; might|{s}|be {x};
        is|{s}|looking {x}"""),
    "be": _words("is|{s}|{x}; is|{s}|{x}; does|{s}|seem to be {x}; does|{s}|appear to be {x}; does|{s}|look to be {x};"
        "could|{s}|be {x}; might|{s}|be {x}; would|you|guess {s} is {x}; would|you|put {o} down as {x}; can|{s}|be {x};"
        "is|{s}|perhaps {x}; would|you|take {o} to be {x}; would|you|say {s} is {x}"),
    "kind": _words("""is|{s}|{x}; is|{s}|{x}; does|{s}|look like {x}; does|{s}|appear to be {x}; does|{s}|seem to
        be {x}; am|I|looking at {x}; do|I|see {x}; could|{s}|be {x}; would|you|call {o} {x}; is|there|{x} in the
        <picture>; do|you|see {x}; would|you|take {o} for {x}; does|the <picture>|show {x}; is|it|{x}; is|that|{x};
        is|the face|that of {x}; would|you|describe {o} as {x}"""),
    "have": _HAVE,
    "has": _words("has|{s}|{x}; does|{s}|seem to have {x}; does|{s}|appear to have {x}"),
    "verb": _words("""does|{s}|{x}; does|{s}|{x}; did|{s}|{x}; does|{s}|seem to {x}; can|you|see {o} {x};
        does|{s}|appear to {x};
        do|you|see {o} {x}; would|you|say {s} does {x}"""),
    "act": _words("""does|{owner} {part}|{x}; does|{owner} {part}|seem to {x}; has|{owner} {part}|begun to {x};
        has|{owner} {part}|started to {x}; does|{owner} {part}|appear to {x}; can|you|see {owner} {part} {x}"""),
    "none": (*_HAVE, "is|there|{x}"),
    "seen": _SEEN,
    "noun": (*_HAVE, *_HAVE, *_SEEN),
    "wear": (*_words("""is|{s}|wearing {x}; is|{s}|wearing {x}; does|{s}|wear {x}; does|{s}|have {x} on;
        has|{s}|got {x} on; does|{s}|seem to wear {x}; is|{s}|pictured with {x}; is|{s}|seen wearing {x};
        has|{s}|put {x} on; did|{s}|wear {x};
            did|{s}|put on {x}; did|{s}|keep {x} on; has|{s}|put on
        {x}; is|{x}|worn by {o}; does|{s}|use {x}; is|{x}|part of {owner} outfit; is|{s}|dressed with {x};
            has|{s}|chosen
        {x}; does|{owner} outfit|include {x}"""),
        *_HAVE, *_SEEN),
    "part": _words("""is|{owner} {part}|{x}; is|{owner} {part}|{x}; does|{owner} {part}|appear to be {x};
        does|{owner} {part}|seem to be {x}; does|{owner} {part}|look {x}; would|you|call {owner} {part} {x};
            would|you|describe
        {owner} {part} as {x}; do|you|see {owner} {part} {x}"""),
    "tint": _words("""is|{owner} {part}|{x}; is|{owner} {part}|{x}; does|{owner} {part}|look {x}; does|{owner}
        {part}|appear {x}; does|{owner} {part}|seem to be {x}; would|you|call {owner} {part} {x}; would|you|describe
        {owner} {part} as {x}; has|{owner} {part}|turned {x}; has|{owner} {part}|become {x}; is|the {part} on {owner}
        head|{x}; could|{owner} {part}|be {x}; does|{owner} {part}|seem {x} to you; is|that {part}|{x}"""),
}  # fmt: skip
"""Category -> "auxiliary|subject|rest" clauses."""

ABSENT_FORMS = _words("""is|{s}|without {x}; is|{s}|free of {b}; does|{s}|lack {x}; is|there|no {b}; does|{s}|have
    no {b}; is|the face|free of {b}; is|the face|without {x}; is|{s}|lacking {x}"""
)  # fmt: skip

ASK = _words("""<ask> <tell> <if> {c}; <ask> <tell> <if> {c}; <ask> <tell> <if> {c}; I'd like to know <if> {c}; I
    want to know <if> {c}; I wonder <if> {c}; <tell> <if> {c}; do you know <if> {c}; I'm asking <if> {c}; any idea
    <if> {c}; I need to know <if> {c}; are you able to <tell> <if> {c}; is it possible to <tell> <if> {c}; my
    question is <if> {c}"""
)  # fmt: skip
THINK = _words("""could it be that {c}; would it be fair to say {c}; am I seeing that {c}; does the <picture> tell you
    that {c}; would you agree that {c}; do you get the impression that {c}; do you see that {c}; can it be that {c};
    would you guess {c}; do you feel {c}; do you think {c}; would you say {c}; do you believe {c}; would you say that
            {c}; do you reckon
    {c}; do you suppose {c}; does it look like {c}; does it seem that {c}"""
)  # fmt: skip
TRUTH = _words("""so {c}; {c}, isn't that so; {c}, am I right; I think {c}; it looks to me like {c}; I believe {c},
    correct; would it be right that {c}; {c}, is that right; I guess {c}; is it true that {c}; is it correct that
            {c}; {c}, right; {c}, correct; am I right that {c}; can
    you confirm that {c}; is it the case that {c}; {c}; {c}, yes or no; {c}, is that true; please confirm that {c};
    is it right to say that {c}"""
)  # fmt: skip
KEYWORDS = {
    "quality": _words("""{x}; {x} or not; {x}: yes or no; {x}, yes or no; {x}, right; yes or no: {x}; maybe {x};
        {x} or what"""),
    "thing": _words("""{b}; any {b}; {b} or no {b}; check for {x}; {b}: yes or no; {b}, yes or no; {b} present; any
        {b} visible; look for {x}; with {x}; with or without {x}; {b} or not; any sign of {x}; is there any {b};
        yes or no: {b}; <ask> check for {x}; see any {b}; detect {b}; {b} here; some {b}; <ask> look for {x}; can
        you find {x}"""),
}  # fmt: skip
ABSENT_KEYWORDS = _words("""no {b}; without {x}; no {b}, right; no {b} at all; {b} absent; {b} missing; free of
    {b}; lacking {x}""")
NOUN_FRAMES = _words("""what {be} {owner} {n}; what {be} {owner} {n}; {n}; {owner} {n}; tell me {owner} {n}; <ask>
    tell me {owner} {n}; <ask> describe {owner} {n}; name {owner} {n}; state {owner} {n}; I'd like to know {owner}
    {n}; what about {owner} {n}; how would you describe {owner} {n}; describe {owner} {n}; give me {owner} {n};
    what can you say about {owner} {n}; report {owner} {n}; do you know {owner} {n}; <ask> state {owner} {n}; {n},
    please; what would you say {owner} {n} {be}"""
)  # fmt: skip


@dataclass(frozen=True)
class _Subject:
    """Who a question is about, in the forms that the tables call {s}, {owner}, {p} and {o}."""

    text: str
    owner: str
    p: str
    o: str

    def fill(self, text: str, **more: str) -> str:
        return text.format(s=self.text, owner=self.owner, p=self.p, o=self.o, **more)


_NOUNS = {
    "male": _words("the man; this man; the guy; the gentleman; this guy; the boy; the dude; that man; this fellow"),
    "female": _words("the woman; this woman; the lady; the girl; this lady; that woman; this gal; the gal"),
    None: _words("""the person; this person; the subject; the individual; that person; the person in the <picture>;
        the one shown; someone in the <picture>; this individual; the person here; somebody here; the sitter; this
            one; the face; this face; the one pictured; the
        person shown; the human; this human; the person on screen; the model; the one I see; the head"""),
}  # fmt: skip
_PRONOUNS = {"male": ("he", "his", "him"), "female": ("she", "her", "her"), None: ("they", "their", "them")}


@dataclass(frozen=True)
class _Clause:
    """A clause that can be asked ("does he wear a hat") or stated ("he wears a hat")."""

    aux: str
    subject: str
    rest: str

    def ask(self, adverb: str = "") -> str:
        return " ".join(f"{self.aux} {self.subject} {adverb} {self.rest}".split())

    def ask_not(self) -> str:
        # "is he not bald" is heard as either: only the contracted form asks whether he is
        return self.ask() if self.aux in ("can", "am", "might") else f"{self.aux}n't {self.subject} {self.rest}"

    def tag(self) -> str:
        """Asks for agreement with the statement: "isn't she", "don't they"."""
        kind = next((gender for gender, nouns in _NOUNS.items() if self.subject in nouns), "thing")
        if self.subject in ("he", "she", "they", "there", "you", "I"):
            who = self.subject
        elif kind in _PRONOUNS:
            who = _PRONOUNS[kind][0]
        else:
            who = "they" if _plural(self.subject) else "it"
        aux = {"is": "are", "does": "do", "has": "have"}.get(self.aux, self.aux) if who == "they" else self.aux
        return f"am {who} not" if aux == "am" else f"{aux}n't {who}".replace("cann't", "can't")

    def state(self) -> str:
        if self.aux == "does":
            verb, _, rest = self.rest.partition(" ")
            return f"{self.subject} {'has' if verb == 'have' else verb + 's'} {rest}"
        return f"{self.subject} {self.rest}" if self.aux == "do" else f"{self.subject} {self.aux} {self.rest}"

    def state_not(self) -> str:
        return f"{self.subject} {self.aux} not {self.rest}"


def _clause(form: str, subject: _Subject, **more: str) -> _Clause:
    """Fills a form; makes the auxiliary agree with a plural subject."""
    aux, who, rest = (subject.fill(part, **more).strip() for part in form.split("|"))
    owner_of = rest if who == "there" else who
    if _plural(owner_of):
        aux = {"is": "are", "does": "do", "has": "have"}.get(aux, aux)
    return _Clause(aux, who, rest)


# Questions

_SLOT = re.compile(r"<(\w+)>")
_FLAG_LIKE = (*FLAGS, "Facial_Hair")


def exchanges(labels: Mapping, rng: random.Random, count: int) -> list[Exchange]:
    """`count` exchanges about one face, of all kinds in the proportions of KINDS."""
    return [exchange(labels, rng) for _ in range(count)]


def exchange(labels: Mapping, rng: random.Random) -> Exchange:
    """One random question of any kind about a face with these labels, with its right answer."""
    makers, weights = zip(*KINDS.items(), strict=True)
    maker = rng.choices(makers, weights)[0]
    question, reading, answer, evidence = maker(labels, rng)
    return Exchange(_surface(question, rng), reading, answer, evidence)


def _ask_yes_no(labels: Mapping, rng: random.Random) -> tuple:
    # groups have more values to tell apart
    label = rng.choice((*LABELS, *GROUPS, *GROUPS, "Facial_Hair"))
    values = list(SPECS[label])
    value = values[rng.random() < 0.2 and len(values) == 2] if label in _FLAG_LIKE else rng.choice(values)
    absent = rng.random() < 0.06
    if rng.random() < WRITTEN_SHARE:
        value, absent = rng.choice(tuple(WRITTEN[label])), False
        question = _written_question(label, value, labels["Gender"], rng)
    else:
        question = _yes_no_question(SPECS[label][value], label, labels["Gender"], absent, rng)
    evidence = ("Mustache", "Beard") if label == "Facial_Hair" else (label,)
    return question, _reading(label, value, absent), answer_yes_no(labels, label, value, absent), evidence


def _reading(label: str, value: str | bool, absent: bool) -> str:
    """A yes/no question in the words of the fact line: its label and the values for which Yes is right."""
    if label in GROUPS:
        named = UNIONS.get(label, {}).get(value, (value,))
        return " ".join([FACT_NAMES[label], *(v for v in GROUPS[label] if (v in named) != absent)])
    return f"{FACT_NAMES.get(label, 'facial')} {'yes' if value != absent else 'no'}"


def _ask_what(labels: Mapping, rng: random.Random) -> tuple:
    if rng.random() < 0.3:
        label = rng.choice(tuple(EITHER_OR))
        topic, question = EITHER_OR[label], _either_or_question(label, labels["Gender"], rng)
    else:
        topic = rng.choice(tuple(TOPICS))
        subject = _subject(rng, None if topic == "gender" else labels["Gender"])
        question = _open_question(TOPICS[topic], subject, rng)
    return question, f"what {topic}", answer_what(labels, topic), TOPICS[topic].labels


def _ask_describe(labels: Mapping, rng: random.Random) -> tuple:
    return _from_table(DESCRIBE, labels, rng), "describe", describe(labels), LABELS


def _ask_identity(labels: Mapping, rng: random.Random) -> tuple:
    return _from_table(IDENTIFY, labels, rng), "who", IDENTITY, ()


def _ask_off_topic(labels: Mapping, rng: random.Random) -> tuple:
    source = rng.random()
    if source < 0.35:
        question = _from_table(GENERAL, labels, rng)
    elif source < 0.55:
        question = _yes_no_question(UNKNOWN, "", labels["Gender"], rng.random() < 0.06, rng)
    elif source < 0.78:
        question = _open_question(UNKNOWN_TOPIC, _subject(rng, labels["Gender"]), rng)
    else:
        question = _about_something_else(rng)
    return question, "other", OFF_TOPIC, ()


KINDS = {_ask_yes_no: 62, _ask_what: 18, _ask_describe: 7, _ask_identity: 5, _ask_off_topic: 9}
"""Maker of a question -> its share in percent."""


def _yes_no_question(concept: Mapping, label: str, gender: str, absent: bool, rng: random.Random) -> str:
    """A question whose Yes means that the concept holds or, with `absent`, that it does not."""
    category, phrase = _phrase(concept, rng, without={"at", "none"} if absent else {"at"})
    subject = _subject_for(label, category, gender, rng)
    part, _, phrase = phrase.rpartition("=")
    phrase = subject.fill(_expand(phrase, rng))
    at = f" {subject.fill(rng.choice(concept['at']))}" if "at" in concept and len(phrase.split()) < 4 else ""
    words = {"x": phrase, "b": _bare(phrase), "part": part}
    tangible = category in ("noun", "wear", "have", "seen")
    if absent and category in ("noun", "wear") and label in _FLAG_LIKE and rng.random() < 0.7:
        if rng.random() < 0.3:
            return subject.fill(rng.choice(ABSENT_KEYWORDS), **words)
        return _wrap(_clause(_expand(rng.choice(ABSENT_FORMS), rng), subject, **words), rng, label != "")
    if not absent and not part and rng.random() < 0.22:
        return _expand(rng.choice(KEYWORDS["thing" if tangible else "quality"]), rng).format(**words)
    forms = [form for form in FORMS[category] if not (absent and "|there|" in form)]
    form = rng.choice(forms).replace(" <at>", at if rng.random() < 0.4 else "")
    clause = _clause(_expand(form, rng), subject, **words)
    if absent:
        return _expand(rng.choice(TRUTH), rng).format(c=clause.state_not())
    return clause.ask_not() if category != "none" and rng.random() < 0.09 else _wrap(clause, rng)


def _written_question(label: str, value: str | bool, gender: str, rng: random.Random) -> str:
    """A whole sentence from WRITTEN. After the first mention the person is "he", "she" or "they"."""
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), rng.choice(WRITTEN[label][value])).rstrip(".?")
    text = text if text.startswith("I") else text[0].lower() + text[1:]
    subject = _subject(rng, None if label == "Gender" else gender)
    first, mention, rest = text.partition("{s}")
    pronoun = {"his": "he", "her": "she", "their": "they"}[subject.p]
    text = subject.fill(first + mention + rest.replace("{s}", pronoun))
    for singular, plural in _AGREEMENT.items():
        text = re.sub(rf"\b{singular} they\b", f"{plural} they", text)
        text = re.sub(rf"\bthey {singular}\b", f"they {plural}", text)
    return text


def _either_or_question(label: str, gender: str, rng: random.Random) -> str:
    """A question that offers two values of the label, in phrases of one category."""
    values = [value for value in SPECS[label] if value not in UNIONS.get(label, ())]
    left, right = (SPECS[label][value] for value in rng.sample(values, 2))
    category = rng.choice([name for name in left if name in right and name not in ("at", "none")])
    part, _, one = rng.choice(left[category]).rpartition("=")
    other = rng.choice(right[category]).rpartition("=")[2]
    subject = _subject_for(label, category, gender, rng)
    phrase = subject.fill(_expand(f"{one} or {other}", rng))
    if rng.random() < 0.2:
        return rng.choice(_CHOICES).format(x=phrase)
    forms = [form for form in FORMS[category] if "{s}" in form or "{owner}" in form]
    return _wrap(_clause(_expand(rng.choice(forms), rng), subject, x=phrase, part=part), rng, truth=False)


def _open_question(topic: Topic, subject: _Subject, rng: random.Random) -> str:
    if rng.random() < 0.5:
        noun = rng.choice(topic.nouns)
        frames = [frame for frame in NOUN_FRAMES if noun not in _KEYWORD_NOUNS or not frame.startswith("{n}")]
        return subject.fill(_expand(rng.choice(frames), rng), n=noun, be="are" if _plural(noun) else "is")
    word, _, form = _expand(rng.choice(topic.clauses), rng).partition("|")
    clause = _clause(form, subject)
    if rng.random() < 0.65:
        return f"{word} {clause.ask()}"
    return _expand(rng.choice(_INDIRECT), rng).format(c=f"{word} {clause.state()}")


def _about_something_else(rng: random.Random) -> str:
    """A question that would be answered if only it were about the person."""
    concept = rng.choice([spec for values in SPECS.values() for spec in values.values()])
    category, phrase = _phrase(concept, rng, without={"at", "seen"})
    names = ("the <animal>", "the <thing>", "my <kin>", "your <animal>", "my <animal>", "that <thing>")
    name = _expand(rng.choice(names), rng)
    subject = _Subject(name, f"{name}'s", "its", "it")
    part, _, phrase = phrase.rpartition("=")
    forms = [form for form in FORMS[category] if "{s}" in form or "{owner}" in form]
    return _wrap(_clause(rng.choice(forms), subject, x=subject.fill(_expand(phrase, rng)), part=part), rng)


def _from_table(table: tuple[str, ...], labels: Mapping, rng: random.Random) -> str:
    subject = _subject(rng, labels["Gender"])
    text = subject.fill(_expand(rng.choice(table), rng))
    return re.sub(r"\bthey is\b", "they are", re.sub(r"\b(is|does) they\b", _agree, text))


def _agree(match: re.Match) -> str:
    return {"is": "are they", "does": "do they"}[match[1]]


def _wrap(clause: _Clause, rng: random.Random, truth: bool = True) -> str:
    """A clause as a direct question, as a request, or as a statement to confirm (where `truth` allows it)."""
    choice = rng.random()
    if choice < 0.06 and truth:
        return f"{clause.state()}, {clause.tag()}"
    if choice < 0.5:
        adverb = _expand("<adverb>", rng) if rng.random() < 0.15 else ""
        return clause.ask(adverb).replace("someone", rng.choice(("someone", "anyone"))).replace("somebody", "anybody")
    table = ASK if choice < 0.75 else TRUTH if choice < 0.87 and truth else THINK
    return _expand(rng.choice(table), rng).format(c=clause.state())


def _phrase(concept: Mapping, rng: random.Random, without: set[str]) -> tuple[str, str]:
    """A category and one of its phrases; the first phrases, which are the plainest, come more often."""
    pairs = [(category, phrase) for category in concept if category not in without for phrase in concept[category]]
    return rng.choice(pairs[:3] if rng.random() < 0.15 else pairs)


def _subject(rng: random.Random, gender: str | None) -> _Subject:
    """A way to refer to the person: of the given gender, of the other one (people err) or neutral; None: neutral."""
    kind = None
    if gender is not None:
        kind = rng.choices((gender, "female" if gender == "male" else "male", None), (5, 2, 4))[0]
    pronoun, possessive, objective = _PRONOUNS[kind]
    if rng.random() < (0.2 if kind is None else 0.55):
        owner = "the" if rng.random() < 0.15 else possessive
        return _Subject(pronoun, owner, possessive, objective)
    noun = _expand(rng.choice(_NOUNS[kind]), rng)
    owners = ("the", possessive, *[f"{noun}'s"] * (2 if len(noun.split()) == 2 and "here" not in noun else 0))
    return _Subject(noun, rng.choice(owners), possessive, noun)


def _subject_for(label: str, category: str, gender: str, rng: random.Random) -> _Subject:
    """A subject that does not give a question about gender away; "this" where the phrase names a kind of person."""
    if category == "kind" and rng.random() < 0.5:
        return _Subject("this", "the", "their", "them")
    return _subject(rng, None if label == "Gender" else gender)


def _expand(text: str, rng: random.Random) -> str:
    """Replaces every <slot>, also those inside the replacements; <3to9> is a number, <made> a name-like word."""
    while match := _SLOT.search(text):
        name = match[1]
        if name in SLOTS:
            word = rng.choice(SLOTS[name])
        elif name == "digit":
            word = str(rng.randint(2, 99))
        elif name == "made":
            word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
        elif name == "letters":
            word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))
        else:
            word = str(rng.randint(*map(int, name.split("to"))))
        text = text[: match.start()] + word + text[match.end() :]
    return " ".join(text.split())


_SYLLABLES = _words("""ba; ro; ki; len; dor; mas; vi; ta; quin; sho; el; nar; zu; pet; os; gri; han; lo; wen; ya;
    cra; mil; fe; stan""")
_INDIRECT = _words("""<ask> tell me {c}; I'd like to know {c}; tell me {c}; do you know {c}; I wonder {c}; can you
    see {c}; <ask> say {c}; any idea {c}; I want to know {c}; please state {c}; let me know {c}; <ask> work out {c}"""
)  # fmt: skip


def _bare(phrase: str) -> str:
    return re.sub(r"^(an?|some kind of|some|any|the) ", "", phrase)


def _plural(phrase: str) -> bool:
    """Whether a noun phrase takes a plural verb, judged by the last word before a preposition."""
    head = re.split(r" (?:on|in|at|of|or|around|under|over|above|to|here|shown)\b", phrase)[0]
    word = head.split()[-1]
    mass = word.endswith(("ss", "us", "is")) or not word.endswith("s")
    return word in ("they", "teeth") or not (mass or re.match(r"an? ", head))


_KEYWORD_NOUNS = {
    _bare(phrase) for values in SPECS.values() for concept in values.values()
    for category in ("noun", "wear", "have") for phrase in concept.get(category, ())
}  # fmt: skip
"""Nouns that alone ("facial hair?") are a yes/no question."""


_CHOICES = _words("""{x}; which is it: {x}; {x}, which one; which: {x}; {x}, what do you think; {x}, what would you say;
    {x}, your guess; {x}, which of them; what is it, {x}; pick one: {x}; {x}, which is it""")

_IMPERATIVE = re.compile(
    r"^(?:\w+, )?(?:please |kindly |try to )?"
    r"(?:tell|describe|name|state|give|report|check|look|caption|identify|write|list"
    r"|say|see|let|detect|find|judge|verify|determine|work|make|summarize|confirm|I (?:want|need|wonder)|I'[dm])\b",
    re.IGNORECASE,
)


def _surface(text: str, rng: random.Random) -> str:
    """The question as somebody types it: openers, closers, contractions, capitals, punctuation, a rare typo."""
    text = re.sub(r" +([,:;.])", r"\1", " ".join(text.split()))
    text = re.sub(r"\bthey (is|has|does)\b", lambda m: "they " + {"is": "are", "has": "have", "does": "do"}[m[1]], text)
    if rng.random() < 0.5:
        text = re.sub(r"\b([Ww]hat|[Ww]ho|[Hh]e|[Ss]he|there) is\b(?! *$)", r"\1's", text)
    if rng.random() < 0.3:
        text = re.sub(r"\b(is|are|does|do|has|have) not\b", r"\1n't", text).replace("can not", "can't")
    if rng.random() < 0.12:
        text = f"{_expand(rng.choice(SLOTS['opener']), rng)}, {text}"
    if rng.random() < 0.15 and not re.search("[,:]| in th| here| please", text):
        text = f"{text} {_expand(rng.choice(SLOTS['closer']), rng)}".replace(" ,", ",")
    if rng.random() < 0.02:
        text += rng.choice((" 🙂", " 😀", " …", " thx", " pls", "!", " :)", " — thanks", ' "'))
    if rng.random() < 0.03:
        text = _typo(text, rng)
    elif rng.random() < 0.04:
        text = re.sub(r" (the|a|an|of|on) ", " ", text, count=1)
    case = rng.random()
    text = text[0].upper() + text[1:] if case < 0.6 else text.lower() if case > 0.93 else text
    weights = (20, 35, 43, 1, 1) if _IMPERATIVE.search(text) else (80, 14, 3, 1, 2)
    return text + rng.choices(("?", "", ".", "??", " ?"), weights)[0]


def _typo(text: str, rng: random.Random) -> str:
    """Drops, doubles, swaps or replaces one letter inside a longer word."""
    spots = [match.start() + 1 for match in re.finditer(r"[a-z]{5,}", text)]
    if not spots:
        return text
    at = rng.choice(spots) + rng.randrange(3)
    letter, after = text[at], text[at + 1]
    new = rng.choice((after, letter * 2 + after, after + letter, rng.choice("aeinorst") + after))
    return text[:at] + new + text[at + 2 :]
