"""SynFlow: iterative conservation of synaptic flow."""

from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores
from keras_initprune.criteria.flow import LinearNetwork


class SynFlow(Criterion):
    """Scores a weight by the flow through it, without data.

    The flow R is the sum of the outputs for inputs of ones, in the linear network whose
    weights are `|w|`: of a chain of layers `R = 1' |W_L| ... |W_1| 1`. A weight's score
    is `|w| * dR/d|w|`: the sum over all paths that it lies on of the product of their
    weights. Layer by layer these sums are R, so a layer that loses weights has larger
    scores left, and 100 iterations never cut a layer off before they have to.

    How layers of a real network are made linear is said in `LinearNetwork`. R grows
    with depth beyond what float32 holds, so all of it is computed in float64.

    References:
        - Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
          conserving synaptic flow" (arXiv 2006.05467), equation 3 and algorithm 1
    """

    iterations = 100

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w| * dR/d|w|` of the masked network, in float64."""
        flow = self._network(problem)
        return flow.scores(problem.masked(masks))

    def _network(self, problem: Problem) -> LinearNetwork:
        # Kept with the problem, so that all iterations share one compiled function.
        network = vars(problem).get("_linear_network")
        if network is None:
            inputs = problem.batches[0].x if problem.batches else None
            network = LinearNetwork(problem.model, problem.weights, inputs)
            vars(problem)["_linear_network"] = network
        return network
