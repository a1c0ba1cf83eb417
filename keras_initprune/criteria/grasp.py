"""GraSP: gradient signal preservation."""

from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


class GraSP(Criterion):
    """Scores a weight by what it contributes to the flow of gradients.

    Removing w changes the squared norm of the gradient g, by which the loss falls in
    the first step, by `-2 w * (H g)` to first order, H being the Hessian. The weights
    whose removal raises it most go first: `s = w * (H g)`, which may be negative. (The
    paper scores by `-w * (H g)` and removes the highest.)

    g and H are those of all batches together, so the data are read twice.

    References:
        - Wang et al. 2020, "Picking winning tickets before training by preserving
          gradient flow" (arXiv 2002.07376), equations 7 to 9 and algorithm 2
    """

    needs_data = True

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `w * (H g)` of the masked network."""
        products = problem.hessian_gradient_products(masks)
        weights = problem.masked(masks)
        return {path: weights[path] * products[path] for path in products}
