import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Call } from "../core/api";
import { asCurl } from "../core/curl";
import { usePage } from "../core/page";
import type { Action } from "../core/use_calls";
import { Failure } from "./state";
import { Copy } from "./text";

interface FieldProps {
  label: string;
  hint?: string;
  error?: string | null;
}

function Field({
  label,
  hint,
  error,
  children,
}: FieldProps & {
  children: (id: string, described: string | undefined) => ComponentChildren;
}) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
      {children(id, described || undefined)}
    </div>
  );
}

export function TextField({
  value,
  onInput,
  type = "text",
  required = false,
  rows,
  ...field
}: FieldProps & {
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "number" | "url" | "search" | "password" | "datetime-local";
  required?: boolean;
  /** Makes it a text of several lines. */
  rows?: number;
}) {
  return (
    <Field {...field}>
      {(id, described) =>
        rows ? (
          <textarea
            id={id}
            rows={rows}
            value={value}
            required={required}
            aria-describedby={described}
            onInput={(event) => onInput(event.currentTarget.value)}
          />
        ) : (
          <input
            id={id}
            type={type as "text"}
            value={value}
            required={required}
            autoComplete="off"
            spellcheck={false}
            aria-describedby={described}
            aria-invalid={field.error ? true : undefined}
            onInput={(event) => onInput(event.currentTarget.value)}
          />
        )
      }
    </Field>
  );
}

export function Select({
  value,
  onChange,
  options,
  ...field
}: FieldProps & {
  value: string;
  onChange: (value: string) => void;
  options: readonly (string | [value: string, shown: string])[];
}) {
  return (
    <Field {...field}>
      {(id, described) => (
        <select
          id={id}
          value={value}
          aria-describedby={described}
          onChange={(event) => onChange(event.currentTarget.value)}
        >
          {options.map((option) => {
            const [name, shown] = typeof option === "string" ? [option, option] : option;
            return (
              <option key={name} value={name}>
                {shown}
              </option>
            );
          })}
        </select>
      )}
    </Field>
  );
}

export function Checkbox({
  label,
  checked,
  onChange,
}: {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={checked}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      {label}
    </label>
  );
}

/** Several of a fixed list. */
export function Choices({
  legend,
  hint,
  options,
  chosen,
  onChange,
}: {
  legend: string;
  hint?: string;
  options: readonly string[];
  chosen: readonly string[];
  onChange: (chosen: string[]) => void;
}) {
  const toggled = (option: string, on: boolean) =>
    onChange(options.filter((one) => (one === option ? on : chosen.includes(one))));
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      {hint && <p class="hint">{hint}</p>}
      {options.map((option) => (
        <Checkbox
          key={option}
          label={option}
          checked={chosen.includes(option)}
          onChange={(on) => toggled(option, on)}
        />
      ))}
    </fieldset>
  );
}

/** The request that a form will send, as a curl command. */
export function Request({ of }: { of: Call<unknown> }) {
  const { client } = usePage();
  const text = asCurl(client.base, of);
  return (
    <details class="request">
      <summary>As curl</summary>
      <pre>
        <code>{text}</code>
      </pre>
      <Copy text={text} label="the curl command" />
    </details>
  );
}

/** A form that sends one call. */
export function Form({
  of,
  action,
  submit,
  danger = false,
  disabled = false,
  onSubmit,
  children,
}: {
  of: Call<unknown>;
  action: Action;
  submit: string;
  danger?: boolean;
  disabled?: boolean;
  onSubmit: () => void;
  children?: ComponentChildren;
}) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      {action.error && <Failure error={action.error} />}
      {children}
      <p class="buttons">
        <button
          type="submit"
          class={danger ? "danger" : "main"}
          disabled={disabled || action.pending}
        >
          {action.pending ? "Sending…" : submit}
        </button>
      </p>
      <Request of={of} />
    </form>
  );
}
