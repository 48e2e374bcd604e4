// The shop's page. Of Highlight it knows the one call that everybody makes.
import { H } from "highlight.run";
import { order } from "./order.js";

const settings = await (await fetch("/settings.json")).json();

if (settings.highlight) {
  H.init("1", {
    backendUrl: `${settings.highlight}/public`,
    otlpEndpoint: settings.highlight,
    serviceName: "page",
    environment: "demo",
    tracingOrigins: [settings.shop],
    networkRecording: { enabled: true, recordHeadersAndBody: true },
  });
}

const status = document.querySelector("[role=status]");
const byXhr = document.querySelector("#xhr");

for (const button of document.querySelectorAll("button")) {
  button.addEventListener("click", async () => {
    status.textContent = "asking ...";
    const answer = await order(settings.shop, Number(button.value), byXhr.checked);
    if (answer.status === 200) {
      status.textContent = `ordered: ${JSON.parse(answer.text).item}`;
    } else {
      status.textContent = `the order failed: ${answer.status || "no answer"}`;
      console.error(`order ${button.value} failed:`, answer.status);
    }
  });
  button.disabled = false;
}
