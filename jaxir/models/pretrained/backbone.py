"""A published backbone: the family it belongs to, its config and its tensors, before any head."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.files import read_json
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained import families, weights
from jaxir.models.pretrained.assembling import config_of
from jaxir.models.pretrained.names import Tensor


class Backbone(NamedTuple):
    """What :func:`open_backbone` found in a folder."""

    folder: pathlib.Path
    family: ModuleType
    hf: dict[str, Any]  # config.json
    fields: dict[str, Any]  # of the trunk, as TransformerConfig and encoders take them
    whole: TransformerConfig
    opened: weights.Weights

    def config_of(self, spec: Mapping[str, Any]) -> TransformerConfig:
        """The trunk of an encoder's spec, which may have fewer layers.

        Raises:
          InputError: it has more.
        """
        if spec["layers"] > self.whole.layers:
            raise InputError(f"layers={spec['layers']}: {self.folder} has {self.whole.layers}")
        return config_of(spec)

    def check(
        self,
        table: Mapping[str, Tensor],
        flat: Mapping[str, Any],
        *,
        opened: weights.Weights | None = None,
        known: Iterable[str] = (),
        ignore: Iterable[str] = (),
    ) -> None:
        """:func:`jaxir.models.pretrained.weights.check`; left aside are other layers and heads of the family.

        Args:
          opened: other weights of the same shape.
          known: names of more tensors that may be left aside.
        """
        names = {t.name for t in self.family.names(self.whole).values()} | {*known}
        if hasattr(self.family, "mlm"):
            names |= {t.name for t in self.family.mlm_names(self.whole).values()}
        ignored = (*self.family.UNUSED, *self.family.TIED, *ignore)
        weights.check(opened or self.opened, table, flat, known=names, ignore=ignored)


def open_backbone(folder: pathlib.Path) -> Backbone:
    """Opens a folder of config.json and safetensors; reads no tensor yet.

    Raises:
      InputError: an unknown architecture, or no safetensors.
    """
    family, hf = families.of_config(read_json(folder / "config.json"))
    fields = family.trunk(hf)
    opened = weights.open_folder(folder, prefixes=family.PREFIXES, renames=family.RENAMES)
    return Backbone(folder, family, hf, fields, TransformerConfig(**fields), opened)
