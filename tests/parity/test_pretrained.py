"""Tiny models of transformers, saved to disk and loaded here: the same numbers, forwards and backwards."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.models.config import TransformerConfig
from jaxir.models.mlm import MlmHead
from jaxir.models.pretrained import read, weights
from jaxir.models.pretrained.families import of_config
from jaxir.models.pretrained.names import under
from jaxir.models.transformer import Transformer
from jaxir.trees import named
from tests.models.pretrained import folders

pytestmark = pytest.mark.parity

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = dict(
    vocab_size=80, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48
)  # fmt: skip
GROUPED = dict(SIZES, num_key_value_heads=2)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500_000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
T5 = dict(vocab_size=80, d_model=32, d_ff=48, num_layers=3, num_heads=4, relative_attention_max_distance=20)
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
GEMMA = dict(GROUPED, head_dim=12, sliding_window=6, query_pre_attn_scalar=16, layer_types=LAYERS)

# name -> (class with the head if the family has one, config class, its arguments)
MODELS = {
    "bert": ("BertForMaskedLM", "BertConfig", dict(SIZES, max_position_embeddings=32)),
    "distilbert": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        dict(vocab_size=80, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=32),
    ),
    "roberta": (
        "RobertaForMaskedLM",
        "RobertaConfig",
        dict(SIZES, max_position_embeddings=34, type_vocab_size=1),
    ),
    "xlm-roberta": ("XLMRobertaForMaskedLM", "XLMRobertaConfig", dict(SIZES, max_position_embeddings=34)),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", dict(SIZES, max_position_embeddings=34)),
    "modernbert": (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        dict(
            SIZES, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2,
            local_attention=8, global_attn_every_n_layers=2, max_position_embeddings=64,
        ),
    ),
    "t5": ("T5EncoderModel", "T5Config", dict(T5, d_kv=8)),
    "mt5": ("MT5EncoderModel", "MT5Config", dict(T5, d_kv=12)),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "llama3": ("LlamaForCausalLM", "LlamaConfig", dict(GROUPED, rope_parameters=LLAMA3, attention_bias=True)),
    "mistral": ("MistralForCausalLM", "MistralConfig", dict(GROUPED, sliding_window=6)),
    "qwen2": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        dict(GROUPED, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", dict(GROUPED, head_dim=12, tie_word_embeddings=True)),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", dict(GROUPED, head_dim=12)),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GEMMA),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", GEMMA),
    "gemma3-bidirectional": (
        "Gemma3TextModel",
        "Gemma3TextConfig",
        dict(GEMMA, sliding_window=8, use_bidirectional_attention=True),
    ),
}  # fmt: skip
WITHOUT_HEAD = ("t5", "mt5", "gemma3-bidirectional")
LENGTHS = (20, 13, 1, 7)


def theirs(name, folder, **changes):
    """The model of transformers, random weights away from their tidy start, saved to ``folder``."""
    architecture, config, arguments = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, architecture)(getattr(transformers, config)(**{**arguments, **changes}))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    made = made.eval()
    made.set_attn_implementation("eager")
    made.save_pretrained(folder)
    folders.tiny_tokenizer().save(folder / "tokenizer.json")
    return made


def texts(pad_id, *, left=False):
    rng = np.random.default_rng(0)
    ids = np.full((len(LENGTHS), max(LENGTHS)), pad_id)
    mask = np.zeros(ids.shape, bool)
    for i, n in enumerate(LENGTHS):
        at = slice(ids.shape[1] - n, None) if left else slice(0, n)
        ids[i, at], mask[i, at] = rng.integers(5, 60, n), True
    return ids, mask


def ours(found):
    fields = TransformerConfig.__dataclass_fields__
    config = TransformerConfig(**{k: v for k, v in found.spec.items() if k in fields})
    return config, Transformer(config)


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_logits(name, tmp_path):
    made = theirs(name, tmp_path)
    found = read(tmp_path, mlm=name not in WITHOUT_HEAD)
    config, trunk = ours(found)
    ids, mask = texts(made.config.pad_token_id or 0)
    with torch.no_grad():
        out = made(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long(), output_hidden_states=True
        )
    hidden = trunk.apply({"params": found.params["trunk"]}, jnp.array(ids), jnp.array(mask))[0]
    np.testing.assert_allclose(
        np.asarray(hidden)[mask], out.hidden_states[-1].numpy()[mask], atol=2e-5, rtol=2e-5
    )
    if name in WITHOUT_HEAD:
        return
    table = found.params["trunk"]["token_embedding"]["embedding"]
    logits = MlmHead(config, **found.head).apply({"params": found.params["mlm"]}, hidden, table)
    np.testing.assert_allclose(np.asarray(logits)[mask], out.logits.numpy()[mask], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_decoders_read_bidirectionally(name, tmp_path):
    """The same trunk with a mask in which every token sees every real one (LLM2Vec's first step)."""
    made = theirs(name, tmp_path, **({} if name in ("llama", "qwen3") else {"sliding_window": None}))
    found = read(tmp_path, causal=False, ignore=["lm_head"])
    _, trunk = ours(found)
    ids, mask = texts(0)
    seen = torch.tensor(np.where(mask[:, None, None, :], 0.0, -1e9), dtype=torch.float32)
    seen = seen.expand(len(ids), 1, ids.shape[1], ids.shape[1])
    with torch.no_grad():
        out = made.model(
            input_ids=torch.tensor(ids),
            attention_mask={"full_attention": seen} if (name.startswith("qwen")) else seen,
        )
    hidden = trunk.apply({"params": found.params["trunk"]}, jnp.array(ids), jnp.array(mask))[0]
    np.testing.assert_allclose(
        np.asarray(hidden)[mask], out.last_hidden_state.numpy()[mask], atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("name", ["bert", "modernbert", "llama3"])
def test_gradients(name, tmp_path):
    made = theirs(name, tmp_path)
    found = read(tmp_path, ignore=["lm_head"])
    config, trunk = ours(found)
    ids, mask = texts(made.config.pad_token_id or 0)
    probe = np.random.default_rng(1).normal(size=(*ids.shape, 32)).astype(np.float32) * mask[..., None]
    base = made.base_model
    out = base(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long()).last_hidden_state
    torch.sum(out * torch.tensor(probe) + 0.1 * (out * torch.tensor(mask[..., None])) ** 2).backward()

    def loss(params):
        hidden = trunk.apply({"params": params}, jnp.array(ids), jnp.array(mask))[0]
        return jnp.sum(hidden * probe + 0.1 * jnp.where(mask[..., None], hidden, 0) ** 2)

    gradients = named({"trunk": jax.grad(loss)(found.params["trunk"])})
    family, _ = of_config(json.loads((tmp_path / "config.json").read_text()))
    got = weights.stored_tensors(under("trunk", family.names(config)), gradients)
    expected = {name: p.grad.numpy() for name, p in base.named_parameters() if p.grad is not None}
    assert set(got) == set(expected)
    for tensor, value in got.items():
        scale = max(np.abs(expected[tensor]).max(), 1.0)
        np.testing.assert_allclose(value, expected[tensor], atol=1e-4 * scale, err_msg=tensor)


@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert", "llama", "gemma3"])
def test_transformers_reads_what_is_exported(name, tmp_path):
    spec, _ = folders.write(tmp_path / "m", folders.TRUNKS[name])
    found = read(tmp_path / "m")
    _, trunk = ours(found)
    made = transformers.AutoModel.from_pretrained(tmp_path / "m", attn_implementation="eager").eval()
    ids, mask = texts(made.config.pad_token_id or 0)
    ids, mask = ids[:, :16] % 60, mask[:, :16]
    with torch.no_grad():
        out = made(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long()).last_hidden_state
    hidden = trunk.apply({"params": found.params["trunk"]}, jnp.array(ids), jnp.array(mask))[0]
    np.testing.assert_allclose(np.asarray(hidden)[mask], out.numpy()[mask], atol=2e-5, rtol=2e-5)
    assert spec["layers"] == made.config.num_hidden_layers
