"""Turn scores of labelled photos into error rates, operating points and a report."""
