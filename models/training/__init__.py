"""The parts of training: plan, split, loop, losses, learners, distillation and model card."""
