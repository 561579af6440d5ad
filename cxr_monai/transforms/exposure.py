"""Another exposure and contrast, at random."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandExposured(RandomizableTransform, MapTransform):
    """Another exposure and contrast: a gamma in [0.75, 1.33] and a window that moves either end by up to 10 %.

    Args:
        keys: float tensors in [0, 1]; they stay in [0, 1].
        prob: how often.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        self.gamma = 0.75 ** self.R.uniform(-1, 1)
        self.low, self.high = self.R.uniform(-0.1, 0.1), 1 + self.R.uniform(-0.1, 0.1)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize()
        if self._do_transform:
            for key in self.key_iterator(result):
                stretched = (result[key] - self.low) / (self.high - self.low)
                result[key] = stretched.clamp(0, 1) ** self.gamma
        return result
