/** Text for HTML content and quoted attributes. */
export function escapeHtml(text: string): string {
  return withoutControls(text).replace(
    /[&<>"']/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] ?? c,
  );
}

/** Control characters, which HTML forbids, become U+FFFD. */
export function withoutControls(text: string): string {
  return text.replace(/[^\P{Cc}\t\n\r]/gu, '\uFFFD');
}
