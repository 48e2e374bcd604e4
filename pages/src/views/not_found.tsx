import { Title } from "../parts/page";

export function NotFound() {
  return (
    <>
      <Title name="There is no such page" />
      <p>
        What there is: <a href="/errors">errors</a>, <a href="/sessions">sessions</a>, <a href="/traces">traces</a> and{" "}
        <a href="/logs">logs</a>.
      </p>
    </>
  );
}
