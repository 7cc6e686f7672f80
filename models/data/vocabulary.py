"""Words of questions: phrases of every concept, the forms and frames they are put into, and whole written questions.

Notation in the tables: items are separated by ";"; `<slot>` is replaced by a random entry of SLOTS; {s} is the subject
("she"), {owner} its possessive ("the lady's"), {p} the possessive pronoun ("her"), {o} the object form, {x} the phrase
and {b} the phrase without its article.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path


def words(text: str) -> tuple[str, ...]:
    """The items of a table; line breaks count as spaces."""
    return tuple(" ".join(item.split()) for item in text.split(";"))


def bare(phrase: str) -> str:
    """A noun phrase without its article."""
    return re.sub(r"^(an?|some kind of|some|any|the) ", "", phrase)


def _stems(text: str) -> re.Pattern:
    """Finds any of these, from a word's start."""
    return re.compile(rf"\b(?:{'|'.join(text.split())})", re.IGNORECASE)


def _concept(**phrases: str) -> dict[str, tuple[str, ...]]:
    """Phrases by category (a key of FORMS), and places (`at`); items of `part` and `tint` read "part=state"."""
    return {category: words(text) for category, text in phrases.items()}


@dataclass(frozen=True)
class Topic:
    """An open question: the labels its answer rests on, noun phrases for it and "wh|auxiliary|subject|rest" clauses."""

    labels: tuple[str, ...]
    nouns: tuple[str, ...]
    clauses: tuple[str, ...]


def _topic(labels: str, nouns: str, clauses: str) -> Topic:
    return Topic(tuple(labels.split()), words(nouns), words(clauses))


def _hair(shades: str, **more: str) -> dict[str, tuple[str, ...]]:
    """A concept of hair that is each of `shades`."""
    items = words(shades)
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
"""Label -> value -> concept: everything a yes/no question can ask about, of every model."""

MORE_SPECS = {
    "Expression": {
        "neutral": _concept(adj="neutral; expressionless; impassive", have="""a neutral expression; a neutral face; a
            blank expression"""),
        "happy": _concept(adj="happy; glad; joyful; delighted; pleased", have="""a happy expression; a happy face; a
            look of joy"""),
        "sad": _concept(adj="sad; unhappy; sorrowful; downcast", have="""a sad expression; a sad face; a look of
            sadness"""),
        "surprise": _concept(adj="surprised; astonished; amazed; startled", have="""a surprised expression; a surprised
            face; a look of surprise"""),
        "fear": _concept(adj="afraid; fearful; scared; frightened", have="""a fearful expression; a scared face; a look
            of fear"""),
        "disgust": _concept(adj="disgusted; revolted", have="""a disgusted expression; a disgusted face; a look of
            disgust"""),
        "anger": _concept(adj="angry; furious; mad; cross", have="an angry expression; an angry face; a look of anger"),
        "contempt": _concept(adj="contemptuous; scornful; disdainful", have="""a contemptuous expression; a scornful
            face; a look of contempt"""),
    },
    "Race": {
        "white": _concept(adj="white; Caucasian", kind="a white person; a Caucasian"),
        "black": _concept(adj="black; of African descent", kind="a black person"),
        "east asian": _concept(adj="East Asian; of East Asian descent", kind="an East Asian; an East Asian person"),
        "southeast asian": _concept(adj="Southeast Asian; of Southeast Asian descent", kind="a Southeast Asian person"),
        "indian": _concept(adj="Indian; South Asian; of Indian descent", kind="an Indian; an Indian person"),
        "middle eastern": _concept(adj="Middle Eastern; of Middle Eastern descent", kind="a Middle Eastern person"),
        "latino": _concept(adj="Latino; Hispanic; Latin American", kind="a Latino; a Hispanic person"),
        "east asian or southeast asian": _concept(adj="Asian; of Asian descent", kind="an Asian; an Asian person"),
    },
}  # fmt: skip
"""The same, of models that also predict these labels."""

MORE_TOPICS = {
    "Expression": _topic("Expression", """emotion; mood; feeling; facial expression; expression; emotional state""",
        """what emotion|does|{s}|show; what mood|is|{s}|in; how|does|{s}|feel; what expression|does|{s}|have; which
            emotion|does|{owner} face|show; what feeling|does|{s}|express; how|is|{s}|feeling"""),
    "Race": _topic("Race", "race; ethnicity; apparent race; ethnic group; ethnic background", """what race|is|{s}|; what
        ethnicity|is|{s}|; which ethnic group|does|{s}|belong to; what ethnicity|does|{s}|appear to be; what
            race|would|you|say {s} is"""),
}  # fmt: skip
"""Label -> the open question about it, of models that predict it."""

WHICH = words("""which {n} fits {o} best: {x}; what {n} is it: {x}; which of these fits {owner} {n}: {x}; {n}: {x}; pick
    {owner} {n}: {x}; which {n} fits this person best: {x}; which {n} fits this face best: {x}""")
"""The same with all values to choose from."""

TELLS_OF = {
    "Expression": _stems("""emotion feel mood express anger angr furious mad\\b sad unhapp sorrow depress afraid
        scared fear fright nervous surpris astonish disgust contempt scorn jealous lonely bored tired\\b upset worried
        anxious calm happ joy excit proud shame confus annoy stress relax in\\slove"""),
    "Race": _stems("""race\\b racial ethnic asian african black\\b white\\b caucasian latin hispanic arab indian
        chinese japanese korean mexican european american nationality descent origin ancest where.*from skin foreign
        native"""),
}
"""Label -> what a question about a person is about, from a word's start, that a model without the label refuses."""

MOODS = re.compile(
    r"\b(?:happ|joy|cheer|merry|jolly|neutral|expressionless|blank|serious|stern|solemn|grave|sober)", re.IGNORECASE
)
"""Speaks of an expression, not of a smile."""


def _read_written() -> dict[str, dict]:
    path = Path(__file__).with_name("written_questions.toml")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    flags = {"yes": True, "no": False}
    yes_no = {
        label: {flags.get(value, value): questions for value, questions in table.items()}
        for label, table in tables["yes_no"].items()
    }
    return tables | {"yes_no": yes_no}


WRITTEN = _read_written()
"""Whole written questions: "yes_no" (label -> value -> those for which Yes means that the value holds), "what" (topic
-> questions), "request" ("describe", "identity", "off_topic" -> questions) and "around" ("before", "after" -> sentences
that people say around any question)."""

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

DESCRIBE = words("""describe <whole>; describe <whole> <how>; what do you see; what can you see <here>; tell me
    about <whole>; caption <this>; tell me everything about <whole>; give me a <short> description of <whole>;
    write a <short> caption for <this>; what does {s} look like; how does {s} look; <ask> describe <whole>; <ask>
    describe <whole> <how>; what is in <this>; summarize <whole>; give a <short> summary of <whole>; list the
    attributes of <whole>; describe {o}; how would you describe <whole>; I need a <short> description of <whole>;
    what can you tell me about <whole>; a <short> caption please; what are {owner} features; describe what you see
    <here>; what is visible <here>; say something about <whole>; which attributes does {s} have; paint me a picture
    of <whole> in words; what stands out about <whole>; let me know what {s} looks like; description; full
    description please; <ask> give me a <short> description of <whole>"""
)  # fmt: skip

IDENTIFY = words("""who is this; who is {s}; who is <person>; what is {owner} name; is this <name>; is {s} <name>;
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

GENERAL = words("""is the <thing> <color>; what color is the <thing>; what colour is the <thing>; how old is the
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
    <thing>; is my <animal> <quality>; does your <kin> have <feature>; is your <thing> <color>; do you have
    <feature>; are you <quality>; how old are you; describe the <thing>; describe the
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

SLOTS = {name: words(text) for name, text in {
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

_HAVE = words("""does|{s}|have {x}; does|{s}|have {x}; has|{s}|got {x}; does|{s}|have {x}; has|{s}|got {x};
    does|{s}|sport {x}; does|{s}|show {x}; is|{s}|sporting {x}; is|{s}|with {x}; is|{s}|someone with {x};
    does|{s}|feature {x}; is|{s}|a person with {x}; does|{s}|come with {x}""")
_SEEN = words("""is|there|{x} <at>; is|{x}|visible; can|{x}|be seen; can|you|see {x} <at>; do|you|see {x} <at>;
    does|the face|show {x}; do|you|notice {x} <at>; can|you|spot {x}; does|the <picture>|show {x}; is|{x}|present;
            is|{x}|to be seen;
    is|there|any sign of {b}; is|{x}|on display; could|you|point out {x}; do|I|see {x}; can|I|see {x}; is|there|{x} to
    be seen; does|this face|have {x}; do|you|make out {x}; do|you|detect {x}; would|you|notice {x}; is|{x}|in the
    <picture>; can|you|find {x} <at>; is|there|{x} in the <picture>"""
)  # fmt: skip
FORMS = {
    "adj": words("""is|{s}|{x}; is|{s}|{x}; does|{s}|look {x}; does|{s}|seem {x}; does|{s}|appear {x};
        does|{s}|seem to be {x}; would|you|call {o} {x}; would|you|describe {o} as {x}; could|{s}|be {x}; do|you|find
        {o} {x}; does|{s}|strike you as {x}; would|you|consider {o} {x}; does|{s}|come across as {x}; might|{s}|be {x};
        is|{s}|looking {x}"""),
    "be": words("is|{s}|{x}; is|{s}|{x}; does|{s}|seem to be {x}; does|{s}|appear to be {x}; does|{s}|look to be {x};"
        "could|{s}|be {x}; might|{s}|be {x}; would|you|guess {s} is {x}; would|you|put {o} down as {x}; can|{s}|be {x};"
        "is|{s}|perhaps {x}; would|you|take {o} to be {x}; would|you|say {s} is {x}"),
    "kind": words("""is|{s}|{x}; is|{s}|{x}; does|{s}|look like {x}; does|{s}|appear to be {x}; does|{s}|seem to
        be {x}; am|I|looking at {x}; do|I|see {x}; could|{s}|be {x}; would|you|call {o} {x}; is|there|{x} in the
        <picture>; do|you|see {x}; would|you|take {o} for {x}; does|the <picture>|show {x}; is|it|{x}; is|that|{x};
        is|the face|that of {x}; would|you|describe {o} as {x}"""),
    "have": _HAVE,
    "has": words("has|{s}|{x}; does|{s}|seem to have {x}; does|{s}|appear to have {x}"),
    "verb": words("""does|{s}|{x}; does|{s}|{x}; did|{s}|{x}; does|{s}|seem to {x}; can|you|see {o} {x};
        does|{s}|appear to {x};
        do|you|see {o} {x}; would|you|say {s} does {x}"""),
    "act": words("""does|{owner} {part}|{x}; does|{owner} {part}|seem to {x}; has|{owner} {part}|begun to {x};
        has|{owner} {part}|started to {x}; does|{owner} {part}|appear to {x}; can|you|see {owner} {part} {x}"""),
    "none": (*_HAVE, "is|there|{x}"),
    "seen": _SEEN,
    "noun": (*_HAVE, *_HAVE, *_SEEN),
    "wear": (*words("""is|{s}|wearing {x}; is|{s}|wearing {x}; does|{s}|wear {x}; does|{s}|have {x} on;
        has|{s}|got {x} on; does|{s}|seem to wear {x}; is|{s}|pictured with {x}; is|{s}|seen wearing {x};
        has|{s}|put {x} on; did|{s}|wear {x};
            did|{s}|put on {x}; did|{s}|keep {x} on; has|{s}|put on
        {x}; is|{x}|worn by {o}; does|{s}|use {x}; is|{x}|part of {owner} outfit; is|{s}|dressed with {x};
            has|{s}|chosen
        {x}; does|{owner} outfit|include {x}"""),
        *_HAVE, *_SEEN),
    "part": words("""is|{owner} {part}|{x}; is|{owner} {part}|{x}; does|{owner} {part}|appear to be {x};
        does|{owner} {part}|seem to be {x}; does|{owner} {part}|look {x}; would|you|call {owner} {part} {x};
            would|you|describe
        {owner} {part} as {x}; do|you|see {owner} {part} {x}"""),
    "tint": words("""is|{owner} {part}|{x}; is|{owner} {part}|{x}; does|{owner} {part}|look {x}; does|{owner}
        {part}|appear {x}; does|{owner} {part}|seem to be {x}; would|you|call {owner} {part} {x}; would|you|describe
        {owner} {part} as {x}; has|{owner} {part}|turned {x}; has|{owner} {part}|become {x}; is|the {part} on {owner}
        head|{x}; could|{owner} {part}|be {x}; does|{owner} {part}|seem {x} to you; is|that {part}|{x}"""),
}  # fmt: skip
"""Category -> "auxiliary|subject|rest" clauses."""

ABSENT_FORMS = words("""is|{s}|without {x}; is|{s}|free of {b}; does|{s}|lack {x}; is|there|no {b}; does|{s}|have
    no {b}; is|the face|free of {b}; is|the face|without {x}; is|{s}|lacking {x}"""
)  # fmt: skip

ASK = words("""<ask> <tell> <if> {c}; <ask> <tell> <if> {c}; <ask> <tell> <if> {c}; I'd like to know <if> {c}; I
    want to know <if> {c}; I wonder <if> {c}; <tell> <if> {c}; do you know <if> {c}; I'm asking <if> {c}; any idea
    <if> {c}; I need to know <if> {c}; are you able to <tell> <if> {c}; is it possible to <tell> <if> {c}; my
    question is <if> {c}"""
)  # fmt: skip
THINK = words("""could it be that {c}; would it be fair to say {c}; am I seeing that {c}; does the <picture> tell you
    that {c}; would you agree that {c}; do you get the impression that {c}; do you see that {c}; can it be that {c};
    would you guess {c}; do you feel {c}; do you think {c}; would you say {c}; do you believe {c}; would you say that
            {c}; do you reckon
    {c}; do you suppose {c}; does it look like {c}; does it seem that {c}"""
)  # fmt: skip
TRUTH = words("""so {c}; {c}, isn't that so; {c}, am I right; I think {c}; it looks to me like {c}; I believe {c},
    correct; would it be right that {c}; {c}, is that right; I guess {c}; is it true that {c}; is it correct that
            {c}; {c}, right; {c}, correct; am I right that {c}; can
    you confirm that {c}; is it the case that {c}; {c}; {c}, yes or no; {c}, is that true; please confirm that {c};
    is it right to say that {c}"""
)  # fmt: skip
KEYWORDS = {
    "quality": words("""{x}; {x} or not; {x}: yes or no; {x}, yes or no; {x}, right; yes or no: {x}; maybe {x};
        {x} or what"""),
    "thing": words("""{b}; any {b}; {b} or no {b}; check for {x}; {b}: yes or no; {b}, yes or no; {b} present; any
        {b} visible; look for {x}; with {x}; with or without {x}; {b} or not; any sign of {x}; is there any {b};
        yes or no: {b}; <ask> check for {x}; see any {b}; detect {b}; {b} here; some {b}; <ask> look for {x}; can
        you find {x}"""),
}  # fmt: skip
ABSENT_KEYWORDS = words("""no {b}; without {x}; no {b}, right; no {b} at all; {b} absent; {b} missing; free of
    {b}; lacking {x}""")
NOUN_FRAMES = words("""what {be} {owner} {n}; what {be} {owner} {n}; {n}; {owner} {n}; tell me {owner} {n}; <ask>
    tell me {owner} {n}; <ask> describe {owner} {n}; name {owner} {n}; state {owner} {n}; I'd like to know {owner}
    {n}; what about {owner} {n}; how would you describe {owner} {n}; describe {owner} {n}; give me {owner} {n};
    what can you say about {owner} {n}; report {owner} {n}; do you know {owner} {n}; <ask> state {owner} {n}; {n},
    please; what would you say {owner} {n} {be}"""
)  # fmt: skip
SYLLABLES = words("""ba; ro; ki; len; dor; mas; vi; ta; quin; sho; el; nar; zu; pet; os; gri; han; lo; wen; ya;
    cra; mil; fe; stan""")
INDIRECT = words("""<ask> tell me {c}; I'd like to know {c}; tell me {c}; do you know {c}; I wonder {c}; can you
    see {c}; <ask> say {c}; any idea {c}; I want to know {c}; please state {c}; let me know {c}; <ask> work out {c}"""
)  # fmt: skip


CHOICES = words("""{x}; which is it: {x}; {x}, which one; which: {x}; {x}, what do you think; {x}, what would you say;
    {x}, your guess; {x}, which of them; what is it, {x}; pick one: {x}; {x}, which is it""")
