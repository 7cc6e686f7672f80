"""Questions written down by hand, apart from the templates that training draws from.

YES_NO: label -> [(question, value that Yes means)]. A value is True, False, or values of the label's group.
"""

from __future__ import annotations

YES_NO: dict[str, list[tuple[str, object]]] = {
    "Gender": [
        ("Would you say it's a male in this photo?", ("male",)),
        ("Am I looking at a woman here?", ("female",)),
        ("Is that a lady in the photograph?", ("female",)),
        ("So this is a guy, right?", ("male",)),
        ("Is the one in the shot a man?", ("male",)),
        ("Does the face look female to you?", ("female",)),
    ],
    "Age": [
        ("Could this person be older than 65?", ("65+",)),
        ("Does the person look younger than 35?", ("0-34",)),
        ("Is the person somewhere from 50 to 64?", ("50-64",)),
        ("Would you put this person at 35 to 49?", ("35-49",)),
    ],
    "Eyeglasses": [
        ("Does this one wear spectacles?", True),
        ("Do you spot glasses on the nose?", True),
        ("Has the person got glasses on in this photo?", True),
        ("Are there lenses in front of the eyes?", True),
        ("Is the face free of glasses?", False),
        ("Is there eyewear to be seen?", True),
    ],
    "Smiling": [
        ("Is there a smile on the lips?", True),
        ("Does the person give us a smile here?", True),
        ("Would you call that face a smiling one?", True),
        ("Does this person seem to smile?", True),
        ("Is the person smiling for the camera?", True),
    ],
    "Teeth_Visible": [
        ("Do the teeth show in this photo?", True),
        ("Can I see teeth in this face?", True),
        ("Are any of the teeth on display?", True),
        ("Is the person showing some teeth?", True),
        ("Could you see the teeth if you looked closely?", True),
    ],
    "Mustache": [
        ("Is there a moustache under the nose?", True),
        ("Has he grown a mustache?", True),
        ("Does the upper lip carry a mustache?", True),
        ("Do you notice a mustache on this face?", True),
        ("Would you say there's a mustache?", True),
    ],
    "Beard": [
        ("Has he grown a beard?", True),
        ("Is the chin covered by a beard?", True),
        ("Do you notice any beard on this face?", True),
        ("Is this person bearded, would you say?", True),
        ("Does a beard cover the jaw?", True),
    ],
    "Bald": [
        ("Has the person gone bald?", True),
        ("Is the top of the head bald?", True),
        ("Would you call this person bald?", True),
        ("Is this head a bald one?", True),
    ],
    "Receding_Hairline": [
        ("Has the hairline started to recede?", True),
        ("Is the person's hairline going back?", True),
        ("Does the hairline seem to recede?", True),
        ("Do you notice a receding hairline?", True),
    ],
    "Long_Hair": [
        ("Is the hair on this head long?", True),
        ("Would you call the hair long?", True),
        ("Does the person have hair that is long?", True),
        ("Has the person grown their hair long?", True),
    ],
    "Wearing_Hat": [
        ("Is the head covered with a hat?", True),
        ("Do you notice a hat on the head?", True),
        ("Has the person put a hat on?", True),
        ("Is some kind of cap sitting on the head?", True),
    ],
    "Wearing_Necktie": [
        ("Do you notice a tie at the collar?", True),
        ("Has the person put on a tie?", True),
        ("Is a tie hanging from the collar?", True),
        ("Does the outfit include a necktie?", True),
    ],
    "Hair_Color": [
        ("Would you call the hair brown?", ("brown",)),
        ("Does the hair look blond to you?", ("blond",)),
        ("Is it black hair that I see?", ("black",)),
        ("Has the hair turned gray or white?", ("gray", "white")),
    ],
}

WHAT: dict[str, list[str]] = {
    "Gender": ["Which sex does the face look like?", "Man or woman, what do you think?"],
    "Age": ["Roughly how many years old could this person be?", "What would you guess the age to be?"],
    "Hair_Color": ["Which colour would you say the hair has?", "The hair on the head, what color is it?"],
}

IDENTITY = [
    "Could you give me the name of this person?",
    "Who do you think that is?",
    "Is this somebody famous?",
    "Do you recognise this face?",
    "What's this guy called?",
]

OFF_TOPIC = [
    "What's the capital of Norway?",
    "How do I bake bread?",
    "What is seven plus five?",
    "What time is it now?",
    "Which team won the match?",
]
