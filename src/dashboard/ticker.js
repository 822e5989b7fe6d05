// A steady tick for the test pattern. Browsers slow a hidden tab's own timers to one a second;
// a worker's timers keep their pace, so the pattern goes on while another tab watches it.

let timer = 0;

onmessage = ({ data: periodMs }) => {
  clearInterval(timer);
  if (periodMs > 0) timer = setInterval(() => postMessage(0), periodMs);
};
