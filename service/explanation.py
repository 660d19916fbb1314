"""A decision in a sentence that a person can act on."""

from models.decision import Decision


def explain(decision: Decision, comparisons: int) -> str:
    """Say in a sentence why the decision fell as it did."""
    score = f"The similarity {decision.similarity:.3f}"
    point = decision.point
    if point is None:
        place = "reaches" if decision.outcome == "match" else "is below"
        return f"{score} {place} the threshold {decision.threshold:.3f} that you chose."
    # No rate is known to more than two digits.
    one_in = float(f"{1 / max(point.fmr.value, 1e-9):.2g}")
    many = f" Best of {comparisons} templates." if comparisons > 1 else ""
    match decision.outcome:
        case "match":
            return (
                f"{score} reaches {decision.threshold:.3f}; of {one_in:,.0f} comparisons of "
                f"strangers one does.{many}"
            )
        case "no_match":
            return (
                f"{score} is below {decision.floor:.3f}; of comparisons of one person, "
                f"{point.fnmr.value:.1%} fall below {decision.threshold:.3f}.{many}"
            )
        case "inconclusive":
            return (
                f"{score} is between {decision.floor:.3f} and {decision.threshold:.3f}: too like "
                f"for strangers, too unlike to vouch for. Take another photo.{many}"
            )
