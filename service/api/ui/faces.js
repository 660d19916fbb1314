// Draw a photo upright, as the service saw it, with a box around the face that it used.

const LONGEST = 900;

// Draw a photo, and return whether the browser could read it. The service reads more formats.
export async function drawPhoto(canvas, photo, face = null) {
  const picture = await decode(photo);
  if (!picture && !face) return false;
  const [width, height] = face
    ? [face.image_width, face.image_height]
    : [picture.width, picture.height];
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const turns = face?.turns ?? 0;
  const ink = turned(canvas, Math.round(width * scale), Math.round(height * scale), turns);
  if (picture) ink.drawImage(picture, 0, 0, Math.round(width * scale), Math.round(height * scale));
  if (face) drawBox(ink, face.box, scale);
  return Boolean(picture);
}

// The box is in the photo turned as its EXIF says. Turn a face that still lies sideways upright.
function turned(canvas, width, height, turns) {
  [canvas.width, canvas.height] = turns % 2 ? [height, width] : [width, height];
  const ink = canvas.getContext("2d");
  ink.translate(canvas.width / 2, canvas.height / 2);
  // The service counts quarter turns anticlockwise; a canvas turns clockwise.
  ink.rotate((-turns * Math.PI) / 2);
  ink.translate(-width / 2, -height / 2);
  return ink;
}

async function decode(photo) {
  try {
    // Use the orientation that phones write into EXIF, as the service does.
    return await createImageBitmap(photo, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

function drawBox(ink, box, scale) {
  const place = [box.left, box.top, box.width, box.height].map((side) => side * scale);
  // A light line on a dark one is visible on any photo.
  for (const [colour, width] of [["#052e1f", 7], ["#5ff0b4", 3]]) {
    ink.strokeStyle = colour;
    ink.lineWidth = width;
    ink.strokeRect(...place);
  }
}

export function describeFace(face) {
  const { box } = face;
  const size = `${Math.round(box.width)} by ${Math.round(box.height)} pixels`;
  const place = `${Math.round(box.left)} from the left and ${Math.round(box.top)} from the top`;
  const shown = face.turns ? `; shown after ${face.turns} quarter turns` : "";
  return `face of ${size}, ${place}${shown}`;
}
