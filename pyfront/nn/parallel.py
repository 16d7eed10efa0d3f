"""torch.nn.parallel: the same module in several processes, or on several devices."""

from ..distributed.data_parallel import DistributedDataParallel
from .data_parallel import DataParallel, data_parallel
from .spreading import gather, parallel_apply, replicate, scatter

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter"]
