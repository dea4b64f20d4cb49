"""The phenome-wide scan of an organ's EDPs against the loop that users write: a statsmodels fit a pair.

The loop's pairs are a sample of each kind, scaled to all of them; ours are all fitted.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare

N, EDPS = 45_714, 100
TRAITS = {"phecode": 700, "continuous": 200, "ordinal": 60, "categorical": 40}
"""A thousand, in about the paper's proportions (683 phecodes, 234 others)."""
PEER_PAIRS = {"phecode": 4, "continuous": 4, "ordinal": 1, "categorical": 2}


def run(share: float = 1.0) -> list[Result]:
    """A thousand traits on a hundred EDPs, each kind's time against statsmodels'; then all of them.

    With a `share` below 1 so many of the traits of each kind are tested, and the time is scaled: the note says so.
    """
    from edp_assets.science.phenome.scan import PhenomeScan

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N, 20)) @ rng.normal(size=(20, EDPS)) + rng.normal(size=(N, EDPS))
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0, ddof=1)
    covariates = _covariates(rng)
    with _Clock() as preparing:
        scan = PhenomeScan(scores, covariates)
    ours, theirs, notes, worst = np.array([preparing.wall, preparing.cpu]), np.zeros(2), [], 0.0
    for kind, count in TRAITS.items():
        tested = round(share * count)
        traits = [(_trait(kind, rng, scores, covariates[0]), kind) for _ in range(tested)]
        with _Clock() as spent:
            found = scan.test_all(traits)
        assert all(reason is None for result in found for reason in result.reasons)
        pair, difference = _peer(kind, traits[0][0], scores, np.column_stack(covariates), found[0])
        worst = max(worst, difference)
        mine = np.array([spent.wall, spent.cpu]) * count / tested
        ours, theirs = ours + mine, theirs + np.array([pair.wall, pair.cpu]) / PEER_PAIRS[kind] * count * EDPS
        each = 1000 * mine[1] / count / EDPS, 1000 * pair.cpu / PEER_PAIRS[kind]
        notes.append(f"{kind} {each[0]:.2f} CPU ms a pair, statsmodels {each[1]:.0f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scaled = "" if share == 1 else f", from {share:.0%} of the traits, scaled"
    note = (
        f"{sum(TRAITS.values()):,} traits ({', '.join(f'{n} {kind}' for kind, n in TRAITS.items())}) x {EDPS} EDPs x "
        f"{N:,} people{scaled}; ours on all cores; CPU seconds {ours[1]:.0f} against {theirs[1]:.0f} "
        f"({theirs[1] / ours[1]:.0f} times); {'; '.join(notes)}; the peer's from {sum(PEER_PAIRS.values())} pairs, "
        f"scaled; effects differ by {worst:.0e} at most; peak memory {memory:.2f} GiB"
    )
    return [compare("phewas", float(ours[0]), "a statsmodels fit a pair", float(theirs[0]), note)]


class _Clock:
    """Wall and CPU seconds of what is done within."""

    def __enter__(self) -> _Clock:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def _covariates(rng: np.random.Generator) -> list[np.ndarray]:
    """Return age, sex, BMI, three centres' indicators and the date of imaging, at unit scale as statsmodels needs."""
    centre = (rng.choice(4, N, p=[0.5, 0.25, 0.2, 0.05])[:, None] == [1, 2, 3]).astype(float)
    return [rng.normal(size=N), rng.integers(0, 2, N).astype(float), rng.normal(size=N), centre, rng.normal(size=N)]


def _trait(kind: str, rng: np.random.Generator, scores: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return a trait that one EDP moves a little; a phecode has 50 to 5,000 cases and a tenth who are neither."""
    liability = 0.1 * scores[:, rng.integers(EDPS)] + 0.2 * age
    if kind == "categorical":
        return (np.linspace(0, 1, 4)[:, None] * liability + rng.gumbel(size=(4, N))).argmax(axis=0).astype(float)
    liability = liability + rng.logistic(size=N)
    if kind == "ordinal":
        return np.digitize(liability, [-1, 0, 1, 3]).astype(float)
    if kind == "phecode":
        cases = int(np.exp(rng.uniform(np.log(50), np.log(5000))))
        values = (liability > np.partition(liability, N - cases)[N - cases]).astype(float)
        values[(values == 0) & (rng.random(N) < 0.1)] = np.nan
        return values
    return np.where(rng.random(N) < 0.1, np.nan, np.exp(liability))


def _peer(
    kind: str, values: np.ndarray, scores: np.ndarray, covariates: np.ndarray, found: object
) -> tuple[_Clock, float]:
    """Return statsmodels' time of some pairs, and how far ours differ from its effects."""
    import statsmodels.api as sm
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    from edp_assets.science.phenome.traits import Rules, prepare

    prepared = prepare(values, kind, covariates.shape[1] + 1, Rules())
    people = np.isfinite(prepared.y)
    y = prepared.y[people]
    differences = []
    designs = [np.column_stack([covariates, scores[:, edp]])[people] for edp in range(PEER_PAIRS[kind])]
    make = {
        "continuous": lambda x: sm.OLS(y, sm.add_constant(x)).fit(),
        "phecode": lambda x: sm.Logit(y, sm.add_constant(x)).fit(disp=0),
        "ordinal": lambda x: OrderedModel(y, x, distr="logit").fit(method="bfgs", disp=0),
        "categorical": lambda x: sm.MNLogit(y, sm.add_constant(x)).fit(disp=0),
    }[kind]
    with _Clock() as spent:
        fits = [make(x) for x in designs]
    for edp, fit in enumerate(fits):
        place = designs[0].shape[1] - 1 if kind == "ordinal" else -1
        ours = found.level_beta[edp] if kind == "categorical" else found.beta[edp]  # type: ignore[attr-defined]
        differences.append(np.abs(ours - np.asarray(fit.params)[place]).max())
    return spent, float(max(differences))
