"""What SciPy, statsmodels and scikit-learn say of the cases that tests/it/statistics.rs sends: JSON in, JSON out.

Versions are those of scripts/statistics. What none of them has is computed by its definition, over all pairs.
"""

import json
import sys

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests


def components(scores, positive):
    """V10 and V01 of DeLong, DeLong and Clarke-Pearson."""
    ill, well = scores[positive][:, None], scores[~positive][None, :]
    above = (ill > well) + 0.5 * (ill == well)
    return above.mean(axis=1), above.mean(axis=0)


def delong(first, second, positive):
    """Difference of AUCs, its standard error and p, from the covariance matrices of the components."""
    sides = list(zip(components(first, positive), components(second, positive)))
    contrast = np.array([1.0, -1.0])
    variance = sum(contrast @ np.cov(np.vstack(side)) @ contrast / len(side[0]) for side in sides)
    difference = roc_auc_score(positive, first) - roc_auc_score(positive, second)
    return [difference, np.sqrt(variance), 2 * stats.norm.sf(abs(difference) / np.sqrt(variance))]


def obuchowski(first, second, positive, cluster):
    """The same for clusters of rows (Obuchowski 1997, eqs. 2 to 6), one cluster at a time."""
    areas = roc_auc_score(positive, first), roc_auc_score(positive, second)
    (x1, y1), (x2, y2) = components(first, positive), components(second, positive)
    x, y = (x1 - areas[0]) - (x2 - areas[1]), (y1 - areas[0]) - (y2 - areas[1])
    own = [(x[cluster[positive] == one].sum(), y[cluster[~positive] == one].sum()) for one in np.unique(cluster)]
    m, n = positive.sum(), (~positive).sum()
    ten, one, all_ = len(np.unique(cluster[positive])), len(np.unique(cluster[~positive])), len(own)
    s10 = ten / ((ten - 1) * m) * sum(x * x for x, _ in own)
    s01 = one / ((one - 1) * n) * sum(y * y for _, y in own)
    s11 = all_ / (all_ - 1) * sum(x * y for x, y in own)
    return [areas[0] - areas[1], np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))]


def paired(case):
    first, second = np.array(case["first"]), np.array(case["second"])
    positive, cluster = np.array(case["positive"]), np.array(case["cluster"])
    # Brunner and Munzel's test holds an AUC against one half, with DeLong's variance.
    alone = stats.brunnermunzel(first[~positive], first[positive], distribution="normal")
    return {
        "delong": delong(first, second, positive),
        "alone": alone.pvalue,
        "obuchowski": obuchowski(first, second, positive, cluster),
        "accuracy": accuracy_score(positive, first > 0.5),
        "sensitivity": recall_score(positive, first > 0.5),
        "specificity": recall_score(positive, first > 0.5, pos_label=False),
    }


def resampled(case):
    differences, share = np.array(case["differences"]), case["share"]
    count = len(differences)
    t = differences.mean() / np.sqrt((1 / count + share) * differences.var(ddof=1))
    return {"plain": stats.ttest_1samp(differences, 0).pvalue, "corrected": 2 * stats.t.sf(abs(t), count - 1)}


asked = json.load(sys.stdin)
answer = {
    "paired": [paired(case) for case in asked["paired"]],
    "mcnemar": [mcnemar([[9, first], [second, 7]], exact=True).pvalue for first, second in asked["mcnemar"]],
    "holm": [list(multipletests(p, method="holm")[1]) for p in asked["holm"]],
    "resampled": [resampled(case) for case in asked["resampled"]],
}
json.dump(answer, sys.stdout, default=float)
