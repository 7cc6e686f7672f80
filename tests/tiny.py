"""A model small enough to be trained in a test."""

from __future__ import annotations

from faceinsight.models.config import AttributeConfig, BackboneConfig, FaceInsightConfig, SegmentationConfig


def tiny_config(vocab_size: int = 640, **more) -> FaceInsightConfig:
    """vocab_size: of the tokenizer; nano has 1536 tokens. more: fields of the config, such as the vocabulary."""
    parser = {
        "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 1, 1],
        "decoder_hidden_size": 16, "num_labels": 19,
    }  # fmt: skip
    vision = {"embedding_size": 8, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "groups_width": 64,
              "layer_type": "x"}  # fmt: skip
    language = {
        "vocab_size": vocab_size, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    return FaceInsightConfig(
        parser=BackboneConfig("segformer", parser, size=64),
        vision=BackboneConfig("regnet", vision, size=64),
        mirrored=False,
        segmentation=SegmentationConfig(size=64, cell=8, patch=4, hidden=32, layers=1, heads=2),
        attributes=AttributeConfig(width=32, text_width=96, depth=1),
        language=BackboneConfig("llama", language),
        context=256,
        **more,
    )
