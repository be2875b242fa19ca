"""Bradley-Terry: strengths of K candidates from some of their pairs, won in whole or in part.

Candidate i beats j with probability s(t_i - t_j), s the logistic function (Bradley and Terry,
Biometrika 39, 1952). A game's result is a number 0..1, so the probability that a judge gives is
used whole (a fractional response: Papke and Wooldridge, J. Applied Econometrics 11, 1996). A small
ridge on t keeps a candidate that won everything finite; where the games leave the candidates in
groups that never met, every group's strengths sum to 0, which says nothing about who is better.
Costs some Newton steps on a K x K matrix: under a millisecond.

Strengths become scores as expected mean win rates against the pool. After a full round robin these
are the mean win rates themselves, but for the ridge: at the maximum of the likelihood, expected and
counted wins of every candidate are equal. So both are on one scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Game = tuple[int, int, float]
"""(i, j, value): value 0..1 is what i got of the win, 1 - value is what j got."""

RIDGE = 0.1
"""A Gaussian prior on each strength with a standard deviation of 3, about 20 to 1 on a win."""


@dataclass(frozen=True)
class Fit:
    """strengths_K: log odds, with mean 0; covariance_KK: of their errors."""

    strengths_K: Array
    covariance_KK: Array

    def scores(self) -> Array:
        """_K: expected mean win rate, 0..1, against the others of the pool."""
        expected_KK = _expected(self.strengths_K)
        return np.asarray((expected_KK.sum(1) - 0.5) / (len(expected_KK) - 1))

    def errors(self) -> Array:
        """_K: standard errors of `scores` by the delta method, sqrt(diag(J C J')), where J is the
        derivative of the scores by the strengths and C their covariance.
        """
        expected_KK = _expected(self.strengths_K)
        slope_KK = _laplacian(expected_KK * (1 - expected_KK)) / (len(expected_KK) - 1)
        variance_K = np.einsum("ij,jk,ik->i", slope_KK, self.covariance_KK, slope_KK)
        return np.asarray(np.sqrt(variance_K))


def fit(size: int, games: Sequence[Game], ridge: float = RIDGE) -> Fit:
    """The strengths of `size` candidates that make the results of `games` likeliest, by Newton's
    method; no step changes a strength by more than 1, which keeps it from overshooting.
    """
    games_KK, wins_KK = np.zeros((size, size)), np.zeros((size, size))
    for i, j, value in games:
        games_KK[[i, j], [j, i]] += 1
        wins_KK[[i, j], [j, i]] += value, 1 - value
    strengths_K = np.zeros(size)
    for _ in range(100):
        expected_KK = _expected(strengths_K)
        slope_K = (wins_KK - games_KK * expected_KK).sum(1) - ridge * strengths_K
        hessian_KK = _laplacian(games_KK * expected_KK * (1 - expected_KK)) + ridge * np.eye(size)
        step_K = np.linalg.solve(hessian_KK, slope_K)
        longest = float(np.abs(step_K).max(initial=0.0))
        if longest < 1e-6:
            break
        strengths_K += step_K / max(1.0, longest)
    covariance_KK = np.asarray(np.linalg.inv(hessian_KK), np.float64)
    return Fit(strengths_K, covariance_KK * _dispersion(expected_KK, games))


def _dispersion(expected_KK: Array, games: Sequence[Game]) -> float:
    """How much results scatter about what is expected, as a share of what tossed coins would:
    Pearson's statistic by its degrees of freedom (McCullagh and Nelder, Generalized Linear Models,
    1989, section 4.5). Probabilities scatter less than the 0 and 1 they stand for. One degree of
    freedom at a coin's scatter is added: a few games that agree prove little.
    """
    pearson = sum((v - (p := expected_KK[i, j])) ** 2 / (p * (1 - p)) for i, j, v in games)
    return float((pearson + 1) / (max(len(games) - len(expected_KK) + 1, 0) + 1))


def _expected(strengths_K: Array) -> Array:
    """_KK: what row i gets of a win over column j; 0.5 on the diagonal."""
    from scipy.special import expit  # slow to import, and few commands need it

    return np.asarray(expit(strengths_K[:, None] - strengths_K))


def _laplacian(weights_KK: Array) -> Array:
    """Of a symmetric matrix; its diagonal does not matter."""
    rest_KK = weights_KK - np.diag(np.diag(weights_KK))
    return np.diag(rest_KK.sum(1)) - rest_KK
