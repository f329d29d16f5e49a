import { useEffect, useRef, useState } from "preact/hooks";
import { missing, usePage } from "../core/page";
import { TextField } from "../ui/form";
import { type LogLine, merged } from "./log_lines";
import { LogSocket } from "./log_socket";
import "./style.css";

/** A service's log as it grows. */
export function Logs({ service }: { service: string }) {
  const { client, me, sockets } = usePage();
  const [lines, setLines] = useState<LogLine[]>([]);
  const [state, setState] = useState("connecting");
  const [text, setText] = useState("");
  const [following, setFollowing] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const why = me.identity.is_admin ? missing(me, "services:read") : "only admins may read logs";
  useEffect(() => {
    if (why) {
      return;
    }
    setLines([]);
    const socket = new LogSocket(client, sockets, service, {
      lines: (arrived) => setLines((shown) => merged(shown, arrived)),
      said: setState,
    });
    socket.start();
    return () => socket.stop();
  }, [client, sockets, service, why]);
  const shown = lines.filter((line) => line.message.toLowerCase().includes(text.toLowerCase()));
  const newest = shown.at(-1)?.id;
  useEffect(() => {
    if (following && box.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [newest, following]);
  if (why) {
    return <p class="faint">The log is not shown: {why}.</p>;
  }
  return (
    <section aria-labelledby="logs">
      <header class="view">
        <h2 id="logs">Log</h2>
        <span role="status" class="faint">
          {state}
        </span>
      </header>
      <div class="filters">
        <TextField label="Filter" type="search" value={text} onInput={setText} />
        <button type="button" aria-pressed={following} onClick={() => setFollowing(!following)}>
          {following ? "Stop scrolling" : "Follow"}
        </button>
      </div>
      <div class="log" ref={box} tabIndex={0} role="log" aria-label={`Log of ${service}`}>
        {shown.map((line) => (
          <p key={line.id}>
            <time class="faint">{line.timestamp.slice(11, 23)}</time> {line.message}
          </p>
        ))}
        {shown.length === 0 && (
          <p class="faint">{lines.length ? "No line matches." : "No line yet."}</p>
        )}
      </div>
    </section>
  );
}
