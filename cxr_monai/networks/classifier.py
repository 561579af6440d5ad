"""Which layer of a network is its classifier: the last linear one."""

from torch import nn

from cxr_monai.errors import Code, SettingError


def classifier_of(network: nn.Module) -> str:
    """Return the name of a network's last linear layer.

    Raises:
        SettingError: ``setting-invalid`` if it has none.

    >>> classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    '1'
    """
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not names:
        raise SettingError(
            Code.SETTING_INVALID, f"{type(network).__name__} has no linear layer that could be its classifier."
        )
    return names[-1]
