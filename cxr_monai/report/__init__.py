"""What a physician or a reviewer reads: the page ``report.html``, the table ``report.md``, and the pictures."""
