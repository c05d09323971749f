"""The precision that suits a device."""

import pytest
import torch

from tdnn_helpers.core.device import pick_precision
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import fit


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), torch.float32), ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)]
    + [((9, 0), torch.bfloat16), ((12, 1), torch.bfloat16)],
)
def test_precision_follows_what_the_gpu_can_do_and_not_what_it_emulates(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args: True)  # as a T4 says
    assert pick_precision("cuda") == pick_precision(torch.device("cuda", 0)) == expected
    assert pick_precision("cpu") == pick_precision("mps") == pick_precision() == torch.float32


def test_fit_says_that_bfloat16_would_be_emulated(monkeypatch, few):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: 1 / 0)  # the device would come here
    with pytest.warns(UserWarning, match="only emulates bfloat16"), pytest.raises(ZeroDivisionError):
        fit(mlp(few), few, steps=1, device="cuda", precision=torch.bfloat16)
