use crate::v1::Usage;

impl Usage {
    /// Counts what another attempt or line consumed to it. Of what is told once (the provider's own words, its service tier) the last stays; of
    /// money held, the most.
    pub fn add(&mut self, usage: &Usage) {
        let (i, o) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
        let input = self.input.get_or_insert_default();
        input.total = input.total.saturating_add(i.total);
        input.cached_read = input.cached_read.saturating_add(i.cached_read);
        input.cache_write_5m = input.cache_write_5m.saturating_add(i.cache_write_5m);
        input.cache_write_1h = input.cache_write_1h.saturating_add(i.cache_write_1h);
        input.audio = input.audio.saturating_add(i.audio);
        input.audio_cached = input.audio_cached.saturating_add(i.audio_cached);
        input.image = input.image.saturating_add(i.image);
        let output = self.output.get_or_insert_default();
        output.total = output.total.saturating_add(o.total);
        output.reasoning = output.reasoning.saturating_add(o.reasoning);
        output.audio = output.audio.saturating_add(o.audio);
        output.image = output.image.saturating_add(o.image);
        let plus = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        plus(&mut self.audio_ms, usage.audio_ms);
        plus(&mut self.characters, usage.characters);
        if let Some(units) = usage.search_units {
            self.search_units = Some(self.search_units.unwrap_or(0).saturating_add(units));
        }
        if let Some(us) = usage.upstream_us {
            self.upstream_us = Some(self.upstream_us.unwrap_or(0).saturating_add(us));
        }
        self.estimated |= usage.estimated;
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(usage.cost_nano_usd);
        self.held_nano_usd = self.held_nano_usd.max(usage.held_nano_usd);
        if usage.native_json.is_some() {
            self.native_json.clone_from(&usage.native_json);
        }
        if usage.service_tier_native.is_some() {
            self.service_tier_native.clone_from(&usage.service_tier_native);
        }
    }
}
