mod cursors;
