mod cursors;
mod fixtures;
mod previews;
mod syncs;
