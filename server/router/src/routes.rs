use std::{collections::VecDeque, sync::Arc};

use crate::ModelGroup;

/// Where a call may go: the groups that its key may use, each kind in its order.
#[derive(Clone, Default)]
pub struct Routes {
    /// Its own group until that was taken, then what follows when everything failed.
    general: VecDeque<Arc<ModelGroup>>,
    /// What follows when the prompt is too long.
    context_window: Vec<Arc<ModelGroup>>,
    /// What follows when a content policy refused.
    content_policy: Vec<Arc<ModelGroup>>,
}

impl Routes {
    /// Those of a group and its fallbacks.
    pub fn new(
        own: Arc<ModelGroup>,
        general: Vec<Arc<ModelGroup>>,
        context_window: Vec<Arc<ModelGroup>>,
        content_policy: Vec<Arc<ModelGroup>>,
    ) -> Self {
        let general = std::iter::once(own).chain(general).collect();
        Self { general, context_window, content_policy }
    }

    /// The group that was asked for, until it was taken.
    pub fn own(&self) -> Option<&Arc<ModelGroup>> {
        self.general.front()
    }

    /// Whether it leads nowhere.
    pub fn is_empty(&self) -> bool {
        self.general.is_empty()
    }

    /// All groups that are still ahead.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<ModelGroup>> {
        self.general.iter().chain(&self.context_window).chain(&self.content_policy)
    }

    pub(crate) fn next(&mut self) -> Option<Arc<ModelGroup>> {
        self.general.pop_front()
    }

    /// Goes on along the fallbacks for long prompts, if there are any.
    pub(crate) fn take_context_window(&mut self) -> bool {
        let groups = std::mem::take(&mut self.context_window);
        self.go_on_along(groups)
    }

    /// Goes on along the fallbacks for calls that a content policy refused, if there are any.
    pub(crate) fn take_content_policy(&mut self) -> bool {
        let groups = std::mem::take(&mut self.content_policy);
        self.go_on_along(groups)
    }

    fn go_on_along(&mut self, groups: Vec<Arc<ModelGroup>>) -> bool {
        if groups.is_empty() {
            return false;
        }
        self.general = groups.into();
        true
    }
}
