//! Training as a program: the forward pass, its gradients and the optimiser's step in one graph.

use serde::{Deserialize, Serialize};

/// An optimiser and its constants; defaults are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum; 0 for none.
        #[serde(default)]
        momentum: f64,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Nesterov's variant.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam with the L2 penalty added to the gradient.
    Adam {
        /// Decay of the moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the square root.
        #[serde(default = "eps")]
        eps: f64,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of the moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the square root.
        #[serde(default = "eps")]
        eps: f64,
        /// Decay of the parameter itself.
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
    },
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn eps() -> f64 {
    1e-8
}

fn decoupled_decay() -> f64 {
    0.01
}

impl OptimizerSpec {
    /// Adam with PyTorch's defaults.
    pub fn adam() -> Self {
        Self::Adam { betas: betas(), eps: eps(), weight_decay: 0.0 }
    }
}
