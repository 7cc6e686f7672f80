"""Any image-text-to-text model of Hugging Face answers about a face, and its replies are scored like our own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers import processing_utils as hf_processing
from transformers.models.smolvlm import processing_smolvlm

from faceinsight.benchmarks.peers import Peer, knowledge_text, score_peer
from faceinsight.models.data.synthetic import generate
from faceinsight.models.vocabulary import load_vocabulary
from faceinsight.runtime.errors import InputError
from faceinsight.runtime.parse_map import PARSE_CLASSES
from faceinsight.runtime.pipeline import Face

from .stand_ins import FACES, FLAGS, NANO, StandIn, replies, save_faces

pytestmark = pytest.mark.slow

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
LANGUAGE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.3,
    "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258,
}  # fmt: skip
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = {
    "llava": {
        "tokens": ("<s>", "</s>", "<pad>", "<image>"),
        "config": {
            "vision_config": {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, **VISION},
            "text_config": {"model_type": "llama", **LANGUAGE},
            "image_token_index": 259,
        },
        "processor": {
            "processor_class": "LlavaProcessor", "patch_size": 8, "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        "images": {
            "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
        },
        "template": "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n"
        "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:",
    },
    "qwen2_vl": {
        "tokens": ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>",
                   "<|image_pad|>", "<|video_pad|>"),
        "config": {
            "vision_config": {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 14},
            "text_config": {**LANGUAGE, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                                            "mrope_section": [1, 1, 2]}},
            "vision_start_token_id": 259, "vision_end_token_id": 260, "image_token_id": 261, "video_token_id": 262,
        },
        "processor": {"processor_class": "Qwen2VLProcessor"},
        "images": {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12544},
        "template": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    },
    "smolvlm": {
        "tokens": ("<|im_start|>", "<end_of_utterance>", "<pad>", "<image>", "<fake_token_around_image>",
                   "<global-img>", "<video>", *(f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2))),
        "config": {
            "vision_config": {"image_size": 32, "patch_size": 8, **VISION},
            "text_config": {"model_type": "llama", **LANGUAGE},
            "image_token_id": 259, "scale_factor": 2,
        },
        "processor": {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
        "images": {
            "image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32}, "do_image_splitting": True,
        },
        "template": "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
        "{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n"
        "{% endfor %}Assistant:",
    },
}  # fmt: skip
CHATTING = tuple(KINDS)
KINDS["blip-2"] = {
    "tokens": ("<s>", "</s>", "<pad>", "<image>"),
    "config": {
        "vision_config": {"image_size": 32, "patch_size": 8, **VISION},
        "qformer_config": {**VISION, "encoder_hidden_size": 16},
        "text_config": {"model_type": "opt", "word_embed_proj_dim": 16, "ffn_dim": 32, **LANGUAGE},
        "num_query_tokens": 4, "image_token_index": 259,
    },
    "processor": {"processor_class": "Blip2Processor", "num_query_tokens": 4},
    "images": {"image_processor_type": "BlipImageProcessor", "size": {"height": 32, "width": 32}},
}  # fmt: skip
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def save_tokenizer(directory, tokens):
    """One token a byte, then `tokens`: beginning, end, padding, and the model's own."""
    backend = Tokenizer(models.BPE({b: i for i, b in enumerate(BYTES)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    begin, end, pad, *own = tokens
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=begin, eos_token=end, pad_token=pad, additional_special_tokens=own
    ).save_pretrained(directory)


def save_peer(directory, kind, template=True, **sampling):
    """A random model in the hub's layout that writes small letters only, so what is new can be told from the prompt."""
    made = KINDS[kind]
    size = len(BYTES) + len(made["tokens"])
    config = AutoConfig.for_model(kind, **made["config"])
    config.text_config.vocab_size = size
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    letters = {BYTES.index(letter) for letter in "abcdefghijklmnopqrstuvwxyz"}
    model.generation_config.suppress_tokens = [i for i in range(size) if i not in letters]
    model.generation_config.update(**sampling)
    model.save_pretrained(directory)
    save_tokenizer(directory, made["tokens"])
    (directory / "processor_config.json").write_text(json.dumps(made["processor"]))
    (directory / "preprocessor_config.json").write_text(json.dumps(made["images"]))
    if template and kind in CHATTING:
        (directory / "chat_template.jinja").write_text(made["template"])
    return directory


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def no_videos():
    """Lets processors that also read videos load where the libraries for that are not installed: no peer needs them."""

    class NoVideos(dict):
        num_frames = fps = None
        model_input_names = ()
        from_pretrained = classmethod(lambda cls, *_, **__: cls())

    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchvision") is None:
            auto = importlib.import_module("transformers.models.auto.video_processing_auto")
            patch.setattr(auto, "AutoVideoProcessor", NoVideos)
            patch.setattr(hf_processing.transformers_module, "VideoProcessorMixin", NoVideos, raising=False)
        if processing_smolvlm.num2words is None:
            patch.setattr(processing_smolvlm, "num2words", str)
        yield


@pytest.fixture(scope="module", params=CHATTING)
def peer(request, tmp_path_factory):
    directory = save_peer(tmp_path_factory.mktemp(request.param), request.param)
    with no_videos():
        return Peer(directory)


@pytest.fixture
def read(peer, monkeypatch):
    """What reaches the model's generate, call by call."""
    seen, generate = [], peer.model.generate

    def spy(**inputs):
        seen.append(inputs)
        return generate(**inputs)

    monkeypatch.setattr(peer.model, "generate", spy)
    return seen


def prompt(peer, inputs) -> str:
    return peer.processor.tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)


def test_a_reply_is_the_new_text_only_and_the_same_each_time(peer):
    reply = peer.ask(IMAGE, "IS THIS A MAN?", max_tokens=6)
    assert len(reply) == 6 and reply.isalpha() and reply.islower()
    assert peer.ask(IMAGE, "IS THIS A MAN?", max_tokens=6) == reply
    assert len(peer.ask(IMAGE, "IS THIS A MAN?")) == 32


@torch.no_grad()
def test_the_image_reaches_the_model(peer, read):
    for image in (IMAGE, 255 - IMAGE):
        peer.ask(image, "Is this a man?", max_tokens=1)
    one, other = ({k: v for k, v in inputs.items() if k != "max_new_tokens"} for inputs in read)
    assert torch.equal(one["input_ids"], other["input_ids"])
    assert not torch.allclose(one["pixel_values"], other["pixel_values"])
    logits = [peer.model(**inputs).logits[0, -1] for inputs in (one, other)]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_the_context_stands_before_the_question(peer, read):
    peer.ask(IMAGE, "Is this a man?", max_tokens=1)
    peer.ask(IMAGE, "Is this a man?", max_tokens=1, context="Known: hair 20%.\nParts: nose 1%.")
    plain, told = (prompt(peer, inputs) for inputs in read)
    assert "Is this a man?" in plain and "Known" not in plain
    assert "Known: hair 20%.\nParts: nose 1%.\nIs this a man?" in told


def test_a_control_token_in_the_text_is_text(peer, read):
    tokens = KINDS[peer.model.config.model_type]["tokens"]
    peer.ask(IMAGE, "Is this a man?", max_tokens=1, context="Known.")
    peer.ask(IMAGE, f"Is this a{' '.join(tokens)} man?", max_tokens=1, context=f"{tokens[3]}Known.")
    assert torch.equal(read[0]["input_ids"], read[1]["input_ids"])
    with pytest.raises(InputError, match="question is empty"):
        peer.ask(IMAGE, tokens[3])


@pytest.mark.parametrize("question", ["", "  \n", "?!"])
def test_an_empty_question_is_refused(peer, question):
    with pytest.raises(InputError, match="question is empty"):
        peer.ask(IMAGE, question)


def test_bad_images_and_lengths_are_refused(peer):
    with pytest.raises(InputError, match="uint8"):
        peer.ask(IMAGE / 255, "Is this a man?")
    with pytest.raises(InputError, match="max_tokens is 0"):
        peer.ask(IMAGE, "Is this a man?", max_tokens=0)


def test_a_checkpoints_own_sampling_is_left_out(tmp_path):
    own = {"do_sample": True, "temperature": 5.0, "top_k": 50, "num_beams": 2, "repetition_penalty": 3.0}
    replies = [
        Peer(save_peer(tmp_path / str(len(sampling)), "llava", **sampling)).ask(IMAGE, "Is this a man?")
        for sampling in ({}, own)
    ]
    assert replies[0] == replies[1]


@pytest.mark.parametrize(("kind", "image"), [("llava", "<image>" * 16 + "\n"), ("blip-2", "<image>" * 4)])
def test_without_a_chat_template_the_prompt_is_plain(tmp_path, monkeypatch, kind, image):
    """A processor that puts the image's tokens in front itself gets no other one."""
    peer, seen = Peer(save_peer(tmp_path, kind, template=False), dtype="bfloat16"), []
    generate = peer.model.generate
    monkeypatch.setattr(peer.model, "generate", lambda **inputs: seen.append(inputs) or generate(**inputs))
    assert "USER" not in peer.ask(IMAGE, "Is this a man?", max_tokens=2, context="Known.")
    text = peer.processor.tokenizer.decode(seen[0]["input_ids"][0])
    assert text == f"{image}USER: Known.\nIs this a man?\nASSISTANT:"
    assert peer.model.dtype == seen[0]["pixel_values"].dtype == torch.bfloat16


@pytest.fixture
def llava(tmp_path):
    return save_peer(tmp_path / "llava", "llava")


def one_line(raised) -> str:
    message = str(raised.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    for source in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="cannot load the config") as raised:
            Peer(source)
        assert str(source) in one_line(raised) and "hub id" in one_line(raised)


def test_a_model_that_takes_no_images_is_refused(tmp_path):
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=260, **LANGUAGE)).save_pretrained(
        tmp_path
    )
    save_tokenizer(tmp_path, ("<s>", "</s>", "<pad>"))
    with pytest.raises(InputError, match="is a llama model, which takes no image") as raised:
        Peer(tmp_path)
    assert "LLaVA" in one_line(raised)


@pytest.mark.parametrize(
    ("file", "what"), [("preprocessor_config.json", "processor"), ("tokenizer*", "processor"), ("model*", "model")]
)
def test_a_missing_file_is_named(llava, file, what):
    for path in llava.glob(file):
        path.unlink()
    with pytest.raises(InputError, match=f"cannot load the {what} of") as raised:
        Peer(llava)
    one_line(raised)


def test_missing_weights_are_never_left_random(llava):
    weights = load_file(llava / "model.safetensors")
    lost = next(name for name in weights if "multi_modal_projector" in name)
    del weights[lost]
    save_file(weights, llava / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 weights") as raised:
        Peer(llava)
    assert "multi_modal_projector" in one_line(raised)


@pytest.mark.parametrize(("file", "what"), [("model.safetensors", "model"), ("tokenizer.json", "processor")])
def test_a_damaged_file_is_refused(llava, file, what):
    (llava / file).write_bytes((llava / file).read_bytes()[:100])
    with pytest.raises(InputError, match=f"cannot load the {what} of") as raised:
        Peer(llava)
    one_line(raised)


def test_code_in_a_checkpoint_is_not_run(llava):
    config = json.loads((llava / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd"}}
    (llava / "config.json").write_text(json.dumps(config))
    (llava / "odd.py").write_text("raise SystemExit('run')\nclass Odd: pass\n")
    with pytest.raises(InputError, match="cannot load the config"):
        Peer(llava)


def test_devices_and_dtypes_that_cannot_be_had_are_named(llava):
    with pytest.raises(InputError, match="unknown dtype 'int3'; use auto"):
        Peer(llava, dtype="int3")
    with pytest.raises(InputError, match="device 'abacus'") as raised:
        Peer(llava, device="abacus")
    one_line(raised)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="nothing is missing here")
def test_a_missing_library_is_named(tmp_path):
    with pytest.raises(InputError, match=r"processor of .* needs more: .*Torchvision.*pip") as raised:
        Peer(save_peer(tmp_path, "qwen2_vl"))
    one_line(raised)


def made_face(**labels) -> Face:
    """Labels with probability 0.9 (or 0.1) each, over a crop of half skin, 3 % left eye and 0.04 % mouth."""
    attributes = dict.fromkeys(NANO.attribute_names, 0.1) | {n: 0.9 for n in FLAGS if labels.get(n)}
    parse_map = np.zeros((50, 50), np.uint8)
    parse_map[:25] = PARSE_CLASSES.index("skin")
    parse_map.flat[:75], parse_map.flat[-1] = PARSE_CLASSES.index("l_eye"), PARSE_CLASSES.index("mouth")
    chosen = {"Gender": "female", "Age": "50-64", "Hair_Color": "red"} | dict.fromkeys(FLAGS, False) | labels
    held = [NANO[name].value(chosen[name]).attribute for name in ("Gender", "Age", "Hair_Color")]
    attributes |= {attribute.name: 0.61 for attribute in held if attribute}
    tokens = np.zeros((1, 1, 1), np.float32)
    return Face((0, 0, 9, 9), (0, 0, 9, 9), attributes, {"Age_Years": 41.6}, chosen, parse_map, 0.9, {}, tokens, "")


def test_knowledge_is_the_labels_in_words_and_the_parts():
    known, parts = knowledge_text(made_face(Smiling=True), NANO).splitlines()
    for words in (
        "this is a woman (90%)", "she looks between 50 and 64 years old (61%)", "her hair is red (61%)",
        "she is smiling (90%)", "she is not wearing eyeglasses (90%)",
    ):  # fmt: skip
        assert words in known
    assert known.count("%)") == len(NANO.labels)
    assert parts.endswith("around the face: skin 47.0%, left eye 3.0%.")
    assert "this is a man (61%)" in knowledge_text(made_face(Gender="male"), NANO)


def test_knowledge_states_a_number():
    face = made_face(Age_Years=42, Race="indian")
    face.attributes.update(dict.fromkeys(load_vocabulary("demographics").attribute_names, 0.2))
    known = knowledge_text(face, load_vocabulary("demographics")).splitlines()[0]
    assert "she looks about 42 years old; she looks Indian (20%)" in known


def test_knowledge_goes_before_every_question_and_a_face_that_is_not_found_is_wrong(tmp_path, model, capsys):
    rendered = generate(3)
    blank = np.zeros_like(rendered.image)
    folder = save_faces(tmp_path / "data", (FACES[1], FACES[1]), (rendered.image, blank))

    class Told(StandIn):
        def ask(self, image, question, max_tokens=32, context=""):
            assert image.shape == rendered.image.shape
            return super().ask(np.zeros((1, 1, 3), np.uint8), question, max_tokens, context)

    told, untold = Told(replies(FACES[1])), Told(replies(FACES[1]))
    found, plain = score_peer(told, folder, model=model), score_peer(untold, folder)
    face = model.perceive(rendered.image)
    assert set(told.contexts) == {knowledge_text(face, model.vocabulary)} and set(untold.contexts) == {""}
    assert found["knowledge"] and found["failed"] == 1 and "1.png: no face found" in capsys.readouterr().err
    assert plain["failed"] == 0 and plain["labels"]["Smiling"]["accuracy"] == plain["labels"]["Age"]["accuracy"] == 1
    assert found["labels"]["Smiling"]["accuracy"] == found["labels"]["Age"]["within_one"] == 0.5
    assert found["labels"]["Smiling"]["asked"] == found["labels"]["Smiling"]["answered"] == 1
    (folder / "images" / "1.png").write_bytes(b"no image")
    damaged = score_peer(Told(replies(FACES[1], Male="Yes.")), folder)
    assert damaged["failed"] == 1 and damaged["contradictions"] == 1  # of the one face that was asked about


def test_a_random_peer_is_scored_from_file_to_figures(llava, tmp_path):
    found = score_peer(Peer(llava), save_faces(tmp_path / "data", FACES[:1]))
    assert all(scores["asked"] == 1 for scores in found["labels"].values())
    assert found["labels"]["Male"]["answered"] == found["labels"]["Male"]["accuracy"] == 0


def test_our_own_model_asked_as_a_peer_is_read_in_full(tmp_path, model):
    """One table for both: its sentences are read as what it perceived, and never contradict each other."""

    class Ours:
        def ask(self, image, question, context=""):
            return model.ask(image, question).text

    images = [generate(seed).image for seed in (3, 5)]
    found = score_peer(Ours(), save_faces(tmp_path / "d", [model.perceive(i).labels for i in images], images))
    assert found["contradictions"] == 0
    for name, scores in found["labels"].items():
        assert scores["answered"] == 2 and scores["accuracy"] == 1, name
