"use strict";
// The page's interactive parts. All data is in the element #data; nothing is loaded from anywhere.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const charts = new Set();

  // Light or dark: the system's choice until the button is used.
  const dark = () => (document.documentElement.dataset.theme ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const themed = () => {
    $("theme").textContent = dark() ? "Light" : "Dark";
    charts.forEach((chart) => Plotly.relayout(chart, inks(chart)));
  };
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch { return null; } // some browsers keep nothing for pages from disk
  };
  if (remembered()) document.documentElement.dataset.theme = remembered();
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    remembered(document.documentElement.dataset.theme);
    themed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);

  // Contents lie folded on a small screen; what a link leads to is unfolded.
  if (matchMedia("(max-width: 62rem)").matches) document.querySelector("nav details").open = false;
  const unfold = () => {
    const target = location.hash && $(decodeURIComponent(location.hash.slice(1)));
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Charts in the page's inks.
  const inks = (chart) => {
    const style = getComputedStyle(chart);
    const made = { "font.color": style.color };
    for (const axis of ["xaxis", "yaxis"]) {
      made[`${axis}.gridcolor`] = style.borderTopColor;
      made[`${axis}.linecolor`] = style.borderTopColor;
    }
    return made;
  };
  const draw = (chart, figure) => {
    charts.add(chart);
    const layout = structuredClone(figure.layout);
    layout.font = { ...layout.font, family: getComputedStyle(document.body).fontFamily, size: 13 };
    return Plotly.react(chart, structuredClone(figure.data), layout, { displayModeBar: false, responsive: true })
      .then(() => Plotly.relayout(chart, inks(chart)));
  };

  // A strip of pictures, decoded once.
  const strips = new Map();
  const strip = (address) => {
    if (!strips.has(address)) {
      const image = new Image();
      image.src = address;
      strips.set(address, image.decode().then(() => image));
    }
    return strips.get(address);
  };
  const paint = async (canvas, address, count, places, columns) => {
    canvas.wanted = address; // the last one asked for is shown, whichever is decoded last
    const image = await strip(address);
    if (canvas.wanted !== address) return;
    const width = image.naturalWidth / count, height = image.naturalHeight, gap = columns > 1 ? 2 : 0;
    canvas.width = columns * (width + gap) - gap;
    canvas.height = Math.ceil(places.length / columns) * (height + gap) - gap;
    const context = canvas.getContext("2d");
    places.forEach((place, i) => {
      const x = (i % columns) * (width + gap), y = Math.floor(i / columns) * (height + gap);
      context.drawImage(image, place * width, 0, width, height, x, y, width, height);
    });
  };
  const short = (value) => value === 0 || (Math.abs(value) >= 0.01 && Math.abs(value) < 1e4)
    ? String(Number(value.toPrecision(3))) : value.toExponential(1);

  // A picture in full size, in a sheet over the page that Escape closes.
  for (const button of document.querySelectorAll(".drawn > button")) {
    button.addEventListener("click", () => {
      $("full").querySelector(".scrolled").replaceChildren(button.firstElementChild.cloneNode());
      $("full").showModal();
    });
  }

  const explorer = () => {
    const curve = $("curve"), scatter = $("scatter"), rank = $("rank"), solver = $("solver");
    let network, attack, place = 0;

    const ring = (chart, x, y) => {
      const last = chart.data.length - 1;
      return Plotly.restyle(chart, { x: [[x]], y: [[y]] }, [last]);
    };
    const show = () => {
      const a = network.attacks[attack], image = a.order[place], kept = network.kept.indexOf(image);
      rank.value = place + 1;
      $("rank-text").textContent = `${place + 1} of ${a.order.length}`;
      rank.setAttribute("aria-valuetext", `${place + 1} of ${a.order.length}, L2 ${short(a.distance[image])}`);
      if (kept >= 0) {
        paint($("picture-train"), network.train, network.kept.length, [kept], 1);
        paint($("picture-found"), a.found, network.kept.length, [kept], 1);
        paint($("picture-nearest"), a.nearest, network.kept.length, [kept], 1);
      }
      document.querySelector(".three").style.visibility = kept >= 0 ? "visible" : "hidden";
      const facts = [
        ["solver", a.name],
        ["rank", `${place + 1} of ${a.order.length}`],
        ["label", network.label[image]],
        ["L2 to the training image", short(a.distance[image])],
        ["L2 to the nearest held-out", short(a.nearest_held_out[image])],
        ["L2 from the start", short(a.start[image])],
        ["|α|", short(network.dual_norm[image])],
      ];
      if (a.certified) facts.push(["certified", a.certified[image] ? "yes" : "no"]);
      if (kept < 0) facts.push(["pictures", "not stored for this image"]);
      $("facts").replaceChildren(...facts.flatMap(([name, value]) => {
        const term = document.createElement("dt"), definition = document.createElement("dd");
        term.textContent = name;
        definition.textContent = value;
        return [term, definition];
      }));
      ring(curve, place + 1, a.distance[image]);
      ring(scatter, network.dual_norm[image], a.distance[image]);
    };
    const choose = (number) => {
      attack = number;
      solver.value = number;
      rank.max = network.attacks[attack].order.length;
      place = Math.min(place, rank.max - 1);
      for (const chart of [curve, scatter]) {
        const visible = chart.data.map((t) => !("control" in (t.meta || {})) || t.meta.control === attack);
        const width = chart.data.map((t) => (t.meta && t.meta.attack === attack ? 3 : 1.5));
        Plotly.restyle(chart, { visible, "line.width": width });
      }
      show();
    };
    const move = (to) => {
      place = Math.max(0, Math.min(network.attacks[attack].order.length - 1, to));
      show();
    };
    const point = (event) => {
      const { data: trace, customdata } = event.points[0];
      if (!trace.meta || !("attack" in trace.meta)) return;
      const number = trace.meta.attack;
      place = network.attacks[number].order.indexOf(customdata);
      if (number === attack) show(); else choose(number);
    };
    const scale = () => {
      const type = $("log").checked ? "log" : "linear";
      for (const chart of [curve, scatter]) Plotly.relayout(chart, { "yaxis.type": type, "yaxis.autorange": true });
    };
    const open = async () => {
      network = data.networks[$("network").value];
      solver.replaceChildren(...network.attacks.map((a, i) => new Option(a.name, i)));
      await Promise.all([draw(curve, network.curve), draw(scatter, network.scatter)]);
      place = 0;
      choose(0);
      scale();
    };
    open().then(() => {
      for (const chart of [curve, scatter]) {
        chart.on("plotly_hover", point);
        chart.on("plotly_click", point);
      }
    });
    $("network").addEventListener("change", open);
    solver.addEventListener("change", () => choose(Number(solver.value)));
    rank.addEventListener("input", () => move(Number(rank.value) - 1));
    $("log").addEventListener("change", scale);
    curve.addEventListener("keydown", (event) => {
      const n = network.attacks.length, end = network.attacks[attack].order.length - 1;
      const steps = {
        ArrowLeft: () => move(place - 1), ArrowRight: () => move(place + 1), Home: () => move(0), End: () => move(end),
        ArrowUp: () => choose((attack + n - 1) % n), ArrowDown: () => choose((attack + 1) % n),
      };
      if (!steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      steps[event.key]();
    });
  };

  const sliders = () => {
    const chart = $("way-chart"), columns = 4;
    const part = (title) => {
      const made = $("way").content.firstElementChild.cloneNode(true);
      made.querySelector("figcaption").textContent = title;
      return made;
    };
    const open = async () => {
      const network = data.networks[$("way-network").value], n = network.shown.length;
      const still = part("training images");
      still.querySelectorAll("p, output").forEach((e) => e.remove());
      still.querySelector("canvas").setAttribute("aria-label", `${n} training images`);
      paint(still.querySelector("canvas"), network.train, network.kept.length, network.shown, columns);
      const parts = network.attacks.map((a, k) => {
        const made = part(a.name), slider = made.querySelector("input"), label = made.querySelector("label");
        slider.id = `way-${k}`;
        slider.max = a.frames.length - 1;
        slider.value = a.frames.length - 1;
        label.htmlFor = slider.id;
        label.textContent = `Step of ${a.name}`;
        made.querySelector("output").htmlFor.value = slider.id;
        return made;
      });
      const show = (k) => {
        const a = network.attacks[k], made = parts[k], slider = made.querySelector("input");
        const frame = a.frames[slider.value];
        const text = `step ${frame.step.toLocaleString("en")} of ${a.steps.toLocaleString("en")}, ` +
          `${short(frame.seconds)} s, mean L2 ${short(frame.mean)}`;
        made.querySelector("output").textContent = text;
        slider.setAttribute("aria-valuetext", text);
        const canvas = made.querySelector("canvas");
        canvas.setAttribute("aria-label", `${n} images of ${a.name} at step ${frame.step}, L2 ` +
          `${short(Math.min(...frame.distance))} to ${short(Math.max(...frame.distance))}`);
        paint(canvas, frame.pictures, n, [...Array(n).keys()], columns);
        Plotly.restyle(chart, { selectedpoints: [[Number(slider.value)]] }, [k]);
      };
      parts.forEach((made, k) => made.querySelector("input").addEventListener("input", (event) => {
        if ($("together").checked) {
          const share = event.target.value / Math.max(1, event.target.max);
          parts.forEach((other, j) => {
            const slider = other.querySelector("input");
            if (j !== k) slider.value = Math.round(share * slider.max);
          });
          parts.forEach((_, j) => show(j));
        } else show(k);
      }));
      $("ways").replaceChildren(still, ...parts);
      await draw(chart, network.way);
      parts.forEach((_, k) => show(k));
    };
    $("way-network").addEventListener("change", open);
    open();
  };

  const anytime = () => {
    const open = () => draw($("anytime-chart"), data.anytime[$("anytime-network").value].chart);
    $("anytime-network").addEventListener("change", open);
    open();
  };

  // Plotly lies packed in the page, a third of its size.
  const plotly = async () => {
    const bytes = Uint8Array.from(atob($("plotly").textContent), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
  };
  themed();
  plotly().then(() => {
    if (data.networks.length) { explorer(); sliders(); }
    if (data.anytime.length) anytime();
  }).catch((error) => {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `The interactive parts do not work in this browser: ${error.message}`;
    $("main").prepend(note);
  });
})();
