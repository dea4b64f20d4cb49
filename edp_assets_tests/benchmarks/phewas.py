"""The phenome-wide scan of an organ's EDPs against the loop that users write: a statsmodels fit a pair.

The loop's pairs are a sample of each kind, scaled to all of them; ours are all fitted.
"""

from __future__ import annotations

import resource

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, EDPS = 45_714, 100
TRAITS = {"phecode": 700, "continuous": 200, "ordinal": 60, "categorical": 40}
"""A thousand, in about the paper's proportions (683 phecodes, 234 others)."""
DISTINCT = 40
"""Traits of a kind that are drawn; they are tested in turn."""
PEER_PAIRS = {"phecode": 4, "continuous": 4, "ordinal": 1, "categorical": 2}


def run() -> list[Result]:
    """A thousand traits on a hundred EDPs, each kind's time against statsmodels'; then all of them."""
    from edp_assets.science.phenome.scan import PhenomeScan

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N, 20)) @ rng.normal(size=(20, EDPS)) + rng.normal(size=(N, EDPS))
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0, ddof=1)
    covariates = _covariates(rng)
    scans: list[PhenomeScan] = []
    prepare = seconds(lambda: scans.append(PhenomeScan(scores, covariates)))
    ours, theirs, fitted, notes, worst = prepare, 0.0, 0, [], 0.0
    for kind, count in TRAITS.items():
        some = [_trait(kind, rng, scores, covariates[0]) for _ in range(min(count, DISTINCT))]
        traits = [(some[number % DISTINCT], kind) for number in range(count)]
        spent = seconds(lambda traits=traits: scans[0].test_all(traits))
        found = scans[0].test(some[0], kind)
        fitted += count * sum(reason is None for reason in found.reasons)
        pair, difference = _peer(kind, some[0], scores, np.column_stack(covariates), found)
        worst = max(worst, difference)
        ours, theirs = ours + spent, theirs + pair * count * EDPS
        notes.append(f"{count} {kind} {spent:.1f} s, statsmodels {pair:.2f} s a pair")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = (
        f"{sum(TRAITS.values()):,} traits x {EDPS} EDPs x {N:,} people: {'; '.join(notes)}; the peer's from "
        f"{sum(PEER_PAIRS.values())} pairs, scaled; effects differ by {worst:.1e} at most; peak memory {memory:.2f} GiB"
    )
    return [compare("phewas", ours, "a statsmodels fit a pair", theirs, note)]


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
) -> tuple[float, float]:
    """Return statsmodels' seconds a pair, and how far ours differ from its effects."""
    import statsmodels.api as sm
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    from edp_assets.science.phenome.traits import Rules, prepare

    prepared = prepare(values, kind, covariates.shape[1] + 1, Rules())
    people = np.isfinite(prepared.y)
    y = prepared.y[people]
    spent, differences = 0.0, []
    for edp in range(PEER_PAIRS[kind]):
        exog = np.column_stack([covariates, scores[:, edp]])[people]
        with_intercept = np.column_stack([np.ones(len(y)), exog])
        fits = {
            "continuous": lambda x=with_intercept: sm.OLS(y, x).fit(),
            "phecode": lambda x=with_intercept: sm.Logit(y, x).fit(disp=0),
            "ordinal": lambda x=exog: OrderedModel(y, x, distr="logit").fit(method="bfgs", disp=0),
            "categorical": lambda x=with_intercept: sm.MNLogit(y, x).fit(disp=0),
        }
        fit: list[object] = []
        spent += seconds(lambda make=fits[kind], fit=fit: fit.append(make()))
        place = exog.shape[1] - 1 if kind == "ordinal" else -1
        theirs = np.asarray(fit[0].params)[place]  # type: ignore[attr-defined]
        ours = found.level_beta[edp] if kind == "categorical" else found.beta[edp]  # type: ignore[attr-defined]
        differences.append(np.abs(ours - theirs).max())
    return spent / PEER_PAIRS[kind], float(max(differences))
