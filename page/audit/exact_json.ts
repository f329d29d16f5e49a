/**
 * JSON that keeps numbers as they are written and refuses a name that stands twice, since readers
 * disagree about both. A number is kept as its text.
 */
export class Literal {
  constructor(readonly text: string) {}
}

export type Exact = null | boolean | string | Literal | Exact[] | Map<string, Exact>;

const DEEPEST = 32;

/** Reads one JSON value. Throws an Error that says what is wrong and where. */
export function parse(text: string): Exact {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  private at = 0;
  constructor(private readonly text: string) {}

  value(depth: number): Exact {
    if (depth > DEEPEST) {
      throw new Error("it is nested too deeply");
    }
    this.space();
    const first = this.text[this.at];
    if (first === "{") {
      return this.object(depth);
    }
    if (first === "[") {
      return this.list(depth);
    }
    if (first === '"') {
      return this.string();
    }
    for (const [word, meaning] of [
      ["true", true],
      ["false", false],
      ["null", null],
    ] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return meaning;
      }
    }
    const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
    number.lastIndex = this.at;
    const found = number.exec(this.text);
    if (!found) {
      throw this.wrong();
    }
    this.at = number.lastIndex;
    return new Literal(found[0]);
  }

  end(): void {
    this.space();
    if (this.at < this.text.length) {
      throw this.wrong();
    }
  }

  private object(depth: number): Map<string, Exact> {
    const fields = new Map<string, Exact>();
    this.at += 1;
    if (this.takes("}")) {
      return fields;
    }
    do {
      this.space();
      const name = this.string();
      if (fields.has(name)) {
        throw new Error(`the field ${name} stands twice`);
      }
      this.must(":");
      fields.set(name, this.value(depth + 1));
    } while (this.takes(","));
    this.must("}");
    return fields;
  }

  private list(depth: number): Exact[] {
    const items: Exact[] = [];
    this.at += 1;
    if (this.takes("]")) {
      return items;
    }
    do {
      items.push(this.value(depth + 1));
    } while (this.takes(","));
    this.must("]");
    return items;
  }

  private string(): string {
    const found = /"(?:[^"\\]|\\.)*"/y;
    found.lastIndex = this.at;
    const match = found.exec(this.text);
    if (!match) {
      throw this.wrong();
    }
    this.at = found.lastIndex;
    return JSON.parse(match[0]) as string;
  }

  private takes(mark: string): boolean {
    this.space();
    if (this.text[this.at] !== mark) {
      return false;
    }
    this.at += 1;
    return true;
  }

  private must(mark: string): void {
    if (!this.takes(mark)) {
      throw this.wrong();
    }
  }

  private space(): void {
    while (" \t\n\r".includes(this.text[this.at] ?? "x")) {
      this.at += 1;
    }
  }

  private wrong(): Error {
    return new Error(`it is not valid JSON at character ${this.at + 1}`);
  }
}

/** Writes a value as events are hashed: names sorted, no spaces, only ASCII. */
export function canonical(value: Exact): string {
  if (value instanceof Literal) {
    return value.text;
  }
  if (value instanceof Map) {
    const names = [...value.keys()].sort(byCodePoint);
    return `{${names.map((name) => `${quoted(name)}:${canonical(value.get(name) ?? null)}`).join()}}`;
  }
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join()}]`;
  }
  return typeof value === "string" ? quoted(value) : String(value);
}

function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Orders texts as Python does; JavaScript's own order differs beyond U+FFFF. */
function byCodePoint(left: string, right: string): number {
  const a = Array.from(left);
  const b = Array.from(right);
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    const difference = (a[i]?.codePointAt(0) ?? 0) - (b[i]?.codePointAt(0) ?? 0);
    if (difference) {
      return difference;
    }
  }
  return a.length - b.length;
}
