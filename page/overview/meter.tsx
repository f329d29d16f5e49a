/** A share of something as a bar and as a number. */
export function Meter({
  name,
  percent,
  detail,
}: {
  name: string;
  percent: number | null;
  detail: string;
}) {
  return (
    <div class="meter">
      <strong>{name}</strong>
      {percent === null ? (
        <span class="faint">not known</span>
      ) : (
        <>
          <meter aria-label={name} min={0} max={100} high={85} optimum={0} value={percent} />
          <span>{Math.round(percent)} %</span>
        </>
      )}
      <span class="faint">{detail}</span>
    </div>
  );
}
