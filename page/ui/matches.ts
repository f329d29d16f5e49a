/** Whether a word of the title begins with the text. */
export function matches(title: string, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return title
    .toLowerCase()
    .split(/\s+/)
    .some((word) => word.startsWith(wanted));
}
