"""Named results: ``max(dim)`` gives ``(values, indices)``, printed as ``torch.return_types.max``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _make(name: str, fields: str) -> Any:
    base = namedtuple(name, fields)

    def show(self: Any) -> str:
        return (
            f"torch.return_types.{name}(\n"
            + ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
            + ")"
        )

    return type(name, (base,), {"__repr__": show, "__slots__": (), "__doc__": f"The result of ``{name}``."})


max_result = _make("max", "values indices")
min_result = _make("min", "values indices")
sort_result = _make("sort", "values indices")
topk_result = _make("topk", "values indices")
median_result = _make("median", "values indices")
nanmedian_result = _make("nanmedian", "values indices")
histogram_result = _make("histogram", "hist bin_edges")
histogramdd_result = _make("histogramdd", "hist bin_edges")
kthvalue_result = _make("kthvalue", "values indices")
mode_result = _make("mode", "values indices")
lu_factor_result = _make("linalg_lu_factor", "LU pivots")
lu_factor_ex_result = _make("linalg_lu_factor_ex", "LU pivots info")
ldl_factor_result = _make("linalg_ldl_factor", "LD pivots")
ldl_factor_ex_result = _make("linalg_ldl_factor_ex", "LD pivots info")
lu_result = _make("linalg_lu", "P L U")
root_lu_result = _make("lu", "LU pivots")
root_lu_infos_result = _make("lu", "LU pivots info")
lu_unpack_result = _make("lu_unpack", "P L U")
frexp_result = _make("frexp", "mantissa exponent")
triangular_solve_result = _make("triangular_solve", "solution cloned_coefficient")
cummax_result = _make("cummax", "values indices")
cummin_result = _make("cummin", "values indices")
aminmax_result = _make("aminmax", "min max")
svd_result = _make("linalg_svd", "U S Vh")
qr_result = _make("linalg_qr", "Q R")
eig_result = _make("linalg_eig", "eigenvalues eigenvectors")
eigh_result = _make("linalg_eigh", "eigenvalues eigenvectors")
slogdet_result = _make("slogdet", "sign logabsdet")
lstsq_result = _make("linalg_lstsq", "solution residuals rank singular_values")
inv_ex_result = _make("linalg_inv_ex", "inverse info")
cholesky_ex_result = _make("linalg_cholesky_ex", "L info")
solve_ex_result = _make("linalg_solve_ex", "result info")
geqrf_result = _make("geqrf", "a tau")
root_svd_result = _make("svd", "U S V")
