/** Thumbs, and for a thumb down what was wrong and what would be right. */
import { useState } from "preact/hooks";
import { announced } from "../state";
import { UNANSWERED } from "../text";
import { Button, Notice, said } from "../ui";
import { rate } from "./run";
import type { Column, Turn } from "./store";

const reasons = ({ answer }: Column) => [
  "It is wrong",
  "It misses something",
  "The quote does not say that",
  answer?.abstained || answer?.withheld ? "The documents do answer this" : UNANSWERED,
  "Something else",
];

const shown = (form: HTMLFormElement | null) => form?.scrollIntoView({ block: "nearest" });

export function Feedback({ turn, index, column, conversation }: { turn: Turn; index: number; column: Column; conversation: string }) {
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState("");
  const give = async (rating: "up" | "down" | null, reason?: string, correction?: string) => {
    try {
      await rate(conversation, turn, index, rating, reason, correction);
      setAsking(false);
      setError("");
      announced.value = rating ? "Thank you: noted." : "Taken back.";
    } catch (failed) {
      setError(said(failed));
    }
  };
  return (
    <>
      <Button icon="up" look="quiet" label="Good answer" aria-pressed={column.rating === "up"} onClick={() => void give(column.rating === "up" ? null : "up")} />
      <Button
        icon="down"
        look="quiet"
        label="Bad answer"
        aria-pressed={column.rating === "down"}
        aria-expanded={asking}
        onClick={() => (column.rating === "down" ? void give(null) : setAsking(!asking))}
      />
      {error && <Notice kind="error">{error}</Notice>}
      {asking && (
        <form
          class="why"
          ref={shown}
          onSubmit={(event) => {
            event.preventDefault();
            const form = new FormData(event.currentTarget);
            void give("down", form.getAll("reason").join("; "), String(form.get("correction") ?? "").trim());
          }}
        >
          <fieldset>
            <legend>What is wrong with it?</legend>
            {reasons(column).map((reason, number) => (
              <label key={reason} class="chip">
                <input type="checkbox" name="reason" value={reason} ref={number === 0 ? (node) => node?.focus() : undefined} /> {reason}
              </label>
            ))}
          </fieldset>
          <label>
            What would be right? <span class="quiet">(optional)</span>
            <textarea name="correction" rows={2} />
          </label>
          <div class="row">
            <span class="quiet small">It goes to the review queue, for a person to decide.</span>
            <Button onClick={() => setAsking(false)}>Cancel</Button>
            <Button look="main" type="submit">Send</Button>
          </div>
        </form>
      )}
    </>
  );
}
