// What a reader would see going wrong on a page, as one sentence each; asked anew for every size and colour scheme.
({
    size: () => {
        const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        return wide > 0 ? [`the page scrolls sideways by ${wide} pixels`] : [];
    },

    cut: async () => {
        const slides = [...document.querySelectorAll("section")];  // they fit themselves when the page is drawn
        if (slides.length) await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
        return slides.flatMap((slide, place) => {
            const { scrollHeight, clientHeight } = slide.querySelector(".cell, .text");
            const lost = scrollHeight - clientHeight;
            return lost > 1 ? [`slide ${place + 1} is cut off by ${lost} pixels`] : [];
        });
    },

    sense: () => {
        const wrong = [];
        const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(heading => Number(heading.tagName[1]));
        if (levels.filter(level => level === 1).length !== 1 || levels[0] !== 1) wrong.push(`headings ${levels}`);
        levels.forEach((level, place) => {
            if (level > levels[place - 1] + 1) wrong.push(`level ${level} after ${levels[place - 1]}`);
        });
        for (const image of document.images) {
            if (!image.alt.trim()) wrong.push("a picture without alternative text");
            if (!image.complete || !image.naturalWidth) wrong.push(`a picture that is not drawn: ${image.alt}`);
        }
        if (!document.title || !document.documentElement.lang) wrong.push("no title or no language");
        for (const control of document.querySelectorAll("button, input, a[href]"))
            if (!control.textContent.trim() && !control.ariaLabel) wrong.push(`no name: ${control.outerHTML}`);
        return wrong;
    },

    // Contrast of text and background, as WCAG 2 defines it; 4.5 is its level AA.
    contrast: () => {
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const known = new Map();  // reading a pixel takes long
        const rgb = colour => {
            if (!known.has(colour)) {
                canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
            }
            return known.get(colour);
        };
        const light = ([r, g, b]) => {
            const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * x + .7152 * y + .0722 * z;
        };
        const behind = element => {
            for (let node = element; node; node = node.parentElement) {
                const colour = rgb(getComputedStyle(node).backgroundColor);
                if (colour[3] > 250) return colour;
            }
            return [255, 255, 255];
        };
        const seen = new Map();
        for (const element of document.querySelectorAll("main *, header *")) {
            const texts = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
            if (!texts || element.closest(".anchor, math") || !element.checkVisibility()) continue;
            const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
            const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
            if (ratio < 4.5) seen.set(`${element.tagName}.${element.className}`, ratio.toFixed(2));
        }
        return [...seen].map(([what, ratio]) => `${what} has a contrast of only ${ratio}`);
    },
})
