//! Sharing work between the calling thread and rayon's.

/// Elements below which a second thread costs more than it saves.
const MIN_ELEMENTS: usize = 1 << 14;

/// How many of `items`, that touch `elements` in all, make a fair share of one thread.
pub(super) fn share_of(items: usize, elements: usize) -> usize {
    let threads = rayon::current_num_threads().min(elements / MIN_ELEMENTS);
    items.div_ceil(threads.max(1)).max(1)
}

/// Runs every part, the first on the calling thread, which would else sleep while the others work.
pub(super) fn share<P: Send>(parts: impl IntoIterator<Item = P>, run: impl Fn(P) + Sync) {
    let mut parts = parts.into_iter();
    let (Some(first), rest) = (parts.next(), parts) else {
        return;
    };
    let run = &run;
    let mut rest = rest.peekable();
    if rest.peek().is_none() {
        run(first);
        return;
    }
    rayon::in_place_scope(|scope| {
        for part in rest {
            scope.spawn(move |_| run(part));
        }
        run(first);
    });
}
