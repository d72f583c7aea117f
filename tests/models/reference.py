"""An independent transformer in numpy and float64, written from the papers, one text at a time."""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def layernorm(x, p, eps):
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return y * p["scale"] + p.get("bias", 0.0)


def rmsnorm(x, p, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * p["scale"]


def linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0.0)


def gelu(x):
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def silu(x):
    return x / (1 + np.exp(-x))


def rope(x, theta):
    """x [l, d]: each pair (i, i + d/2) as a complex number, turned by position * theta^(-2i/d)."""
    length, d = x.shape
    z = x[:, : d // 2] + 1j * x[:, d // 2 :]
    angle = np.arange(length)[:, None] * theta ** (-2 * np.arange(d // 2) / d)
    z = z * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def attention(x, p, *, heads, kv_heads, causal, theta=None, window=0, eps=None, bias=None):
    q, k, v = (linear(x, p[name]) for name in ("query", "key", "value"))
    length, d = len(x), q.shape[-1] // heads
    outputs = []
    for h in range(heads):
        g = h // (heads // kv_heads)
        qh, kh, vh = q[:, h * d :][:, :d], k[:, g * d :][:, :d], v[:, g * d :][:, :d]
        if "query_norm" in p:
            qh, kh = rmsnorm(qh, p["query_norm"], eps), rmsnorm(kh, p["key_norm"], eps)
        if theta is not None:
            qh, kh = rope(qh, theta), rope(kh, theta)
        out = np.zeros((length, d))
        for i in range(length):
            seen = [
                j for j in range(length) if (not causal or j <= i) and (not window or abs(i - j) <= window)
            ]
            logits = np.array([qh[i] @ kh[j] for j in seen]) / math.sqrt(d)
            if bias is not None:
                logits += [bias(j - i)[h] for j in seen]
            share = np.exp(logits - logits.max())
            out[i] = (share / share.sum()) @ vh[seen]
        outputs.append(out)
    return linear(np.concatenate(outputs, axis=-1), p["out"])


def bucket(offset, buckets, distance, causal=False):
    """T5's bucket of a key that stands ``offset`` after the query."""
    start = 0
    if causal:
        offset = min(offset, 0)
    else:
        buckets //= 2
        start = buckets if offset > 0 else 0
    far, exact = abs(offset), buckets // 2
    if far < exact:
        return start + far
    log = math.log(far / exact) / math.log(distance / exact) * (buckets - exact)
    return start + min(exact + int(log), buckets - 1)


def bert(params, ids, types, *, layers, heads, eps, buckets=0, distance=0, first=0):
    """Post-norm encoder: learned positions, token types, exact GELU, LayerNorm, biases.

    With ``buckets`` also MPNet's: relative biases, and the first position in row ``first``.
    """
    bias = None
    if buckets:
        bias = lambda offset: params["relative_bias"][bucket(offset, buckets, distance)]
    x = params["token_embedding"]["embedding"][ids]
    x = x + params["position_embedding"]["embedding"][first : first + len(ids)]
    x = x + params["type_embedding"]["embedding"][types]
    x = layernorm(x, params["embedding_norm"], eps)
    for i in range(layers):
        p = params[f"layers_{i}"]
        a = attention(x, p["attention"], heads=heads, kv_heads=heads, causal=False, bias=bias)
        x = layernorm(x + a, p["attention_norm"], eps)
        f = linear(gelu(linear(x, p["ffn"]["up"])), p["ffn"]["down"])
        x = layernorm(x + f, p["ffn_norm"], eps)
    return x


def llama(params, ids, *, layers, heads, kv_heads, theta, eps, causal=True, windows=(0,), local=None):
    """Pre-norm decoder: rotary positions, grouped-query attention, SwiGLU, RMSNorm."""
    x = params["token_embedding"]["embedding"][ids]
    for i in range(layers):
        p, window = params[f"layers_{i}"], windows[i % len(windows)]
        x = x + attention(
            rmsnorm(x, p["attention_norm"], eps),
            p["attention"],
            heads=heads,
            kv_heads=kv_heads,
            causal=causal,
            theta=local if window and local else theta,
            window=window,
            eps=eps,
        )
        y = rmsnorm(x, p["ffn_norm"], eps)
        gate, up = linear(y, p["ffn"]["gate"]), linear(y, p["ffn"]["up"])
        x = x + linear(silu(gate) * up, p["ffn"]["down"])
    return rmsnorm(x, params["final_norm"], eps)
