//! burn-train's terminal dashboard with the metrics of a run.

use std::sync::Arc;

use burn_train::Interrupter;
use burn_train::logger::TrainingProgressLogger;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};

/// A dashboard over the whole terminal, until it is dropped.
pub(crate) struct Dashboard {
    renderer: TuiMetricsRendererWrapper,
    interrupter: Interrupter,
    known: Vec<String>,
    /// Highest step shown: after a fault the bar waits, since it can't be set back.
    reached: usize,
}

impl Dashboard {
    /// Takes the terminal over. `first` steps of `steps` are made.
    pub(crate) fn open(first: u64, steps: u64) -> Self {
        let interrupter = Interrupter::new();
        let mut renderer = TuiMetricsRendererWrapper::new(interrupter.clone(), None);
        // The whole run is one epoch.
        renderer.start(1, 1, Some(size(steps)), Some("steps"));
        renderer.start_split("train", size(steps));
        renderer.update_split(size(first));
        Self {
            renderer,
            interrupter,
            known: Vec::new(),
            reached: size(first),
        }
    }

    /// Whether the user has asked there to stop.
    pub(crate) fn wants_to_stop(&self) -> bool {
        self.interrupter.should_stop()
    }

    pub(crate) fn step(&mut self, step: u64) {
        self.reached = self.reached.max(size(step));
        self.renderer.update_split(self.reached);
    }

    /// Values since the last time; a tag `test/...` is of the held-out puzzles, others are of the training.
    pub(crate) fn scalars(&mut self, values: &[(&str, f64)]) {
        for &(tag, value) in values {
            let (split, name) = tag.split_once('/').unwrap_or(("train", tag));
            // A metric of its own: the renderer thins a curve by the number of values of all splits together, and would drop one for good.
            let name = match split {
                "test" => format!("{name}, held out"),
                _ => name.to_owned(),
            };
            let id = MetricId::new(Arc::new(name.clone()));
            if !self.known.contains(&name) {
                self.known.push(name.clone());
                let attributes = NumericAttributes {
                    unit: None,
                    higher_is_better: !name.contains("loss"),
                };
                self.renderer.register_metric(MetricDefinition {
                    metric_id: id.clone(),
                    name: Arc::new(name),
                    description: None,
                    attributes: attributes.into(),
                });
            }
            let entry = MetricEntry::new(
                id,
                SerializedEntry::new(format!("{value:.4}"), value.to_string()),
            );
            let state = MetricState::Numeric(entry, Some(NumericEntry::Value(value)));
            match split {
                "test" => self.renderer.update_valid(state),
                _ => self.renderer.update_train(state),
            }
        }
    }
}

fn size(steps: u64) -> usize {
    usize::try_from(steps).unwrap_or(usize::MAX)
}
