/** Reads a JSON object that somebody types. An empty text is none. */
export function readObject(text: string): {
  value: Record<string, never> | null;
  wrong: string | null;
} {
  if (!text.trim()) {
    return { value: null, wrong: null };
  }
  try {
    const value: unknown = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) {
      return { value: value as Record<string, never>, wrong: null };
    }
    return { value: null, wrong: "It must be a JSON object, in braces." };
  } catch {
    return { value: null, wrong: "It is not valid JSON." };
  }
}
