// The map in 3D: its points, where its images were taken, the camera, its way, and where it was found.

import * as THREE from "./three/three.module.min.js";
import { OrbitControls } from "./three/OrbitControls.js";
import { PLYLoader } from "./three/PLYLoader.js";
import { ask, json, mapPath } from "./api.js";

const COLOURS = { LOCALIZED: 0x4cc38a, DEGRADED: 0xf0b24b, LOST: 0xff6b6b, INITIALIZING: 0x62a8ff };
const MOST_TRAIL = 40000, MOST_FOUND = 500; // two ends for each piece of the way
const GAP_MS = 500; // without a pose: the way between is not known

export function matrixOf(pose) {
  return new THREE.Matrix4().compose(
    new THREE.Vector3(pose.tx, pose.ty, pose.tz),
    new THREE.Quaternion(pose.qx, pose.qy, pose.qz, pose.qw),
    new THREE.Vector3(1, 1, 1),
  );
}

export class Scene {
  constructor(container) {
    this.container = container;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    container.append(this.renderer.domElement);
    this.scene = new THREE.Scene();
    this.scene.background = new THREE.Color(0x0b1117);
    this.eye = new THREE.PerspectiveCamera(55, 1, 0.01, 1000);
    this.controls = new OrbitControls(this.eye, this.renderer.domElement);
    this.controls.addEventListener("change", () => this.draw());
    this.map = new THREE.Group();
    this.drive = new THREE.Group();
    this.scene.add(this.map, this.drive);
    this.follow = false;
    this.size = 1;
    new ResizeObserver(() => this.resize()).observe(container);
    this.clearDrive();
  }

  async show(name, isUpright) {
    const [points, images] = await Promise.all([
      ask(mapPath(name, "/points")).then((response) => response.arrayBuffer()),
      json(mapPath(name, "/images")),
    ]);
    clear(this.map);
    this.clearDrive();
    const geometry = new PLYLoader().parse(points), positions = geometry.getAttribute("position");
    this.measure(positions, images, isUpright);
    geometry.getAttribute("color")?.array && (geometry.attributes.color.normalized = true);
    const material = new THREE.PointsMaterial({ size: 3, sizeAttenuation: false, vertexColors: true });
    this.map.add(new THREE.Points(geometry, material));
    const lines = images.flatMap((image) => frustum(image.width, image.height, image.focal_length_px, 0.5 * this.size)
      .map((corner) => corner.applyMatrix4(matrixOf(image.map_from_camera))));
    this.map.add(new THREE.LineSegments(
      new THREE.BufferGeometry().setFromPoints(lines),
      new THREE.LineBasicMaterial({ color: 0x5f7486, transparent: true, opacity: 0.45 }),
    ));
    this.whole();
    return { points: positions.count, images: images.length };
  }

  measure(positions, images, isUpright) {
    // Centre, extent without strays, and which way is up: the map's z, or where its images have their upper edge.
    const axes = [0, 1, 2].map((axis) => Array.from({ length: positions.count }, (_, i) => positions.getComponent(i, axis)).sort((a, b) => a - b));
    const at = (axis, share) => axes[axis][Math.min(positions.count - 1, Math.floor(share * positions.count))];
    this.centre = new THREE.Vector3(at(0, 0.5), at(1, 0.5), at(2, 0.5));
    this.extent = Math.max(...[0, 1, 2].map((axis) => at(axis, 0.95) - at(axis, 0.05)), 1e-3);
    this.size = 0.035 * this.extent;
    const up = new THREE.Vector3(0, 0, isUpright ? 1 : 0);
    if (!isUpright) for (const image of images) up.add(axisOf(image.map_from_camera, 0, -1, 0));
    this.eye.up.copy(up.lengthSq() > 0 ? up.normalize() : up.set(0, 0, 1));
    const ahead = images.reduce((sum, image) => sum.add(axisOf(image.map_from_camera, 0, 0, 1)), new THREE.Vector3());
    ahead.addScaledVector(this.eye.up, -ahead.dot(this.eye.up));
    if (ahead.lengthSq() < 1e-6) ahead.set(this.eye.up.y, this.eye.up.z, this.eye.up.x).cross(this.eye.up);
    this.from = ahead.normalize().multiplyScalar(-0.75).addScaledVector(this.eye.up, 0.62).normalize();
    this.eye.near = 0.001 * this.extent;
    this.eye.far = 50 * this.extent;
  }

  whole() {
    // The whole map from behind and above.
    if (!this.centre) return;
    this.eye.position.copy(this.centre).addScaledVector(this.from, 1.35 * this.extent);
    this.controls.dispose(); // which way is up it learns when it is made
    this.controls = new OrbitControls(this.eye, this.renderer.domElement);
    this.controls.addEventListener("change", () => this.draw());
    this.controls.target.copy(this.centre);
    this.controls.update();
    this.resize();
  }

  clearDrive() {
    clear(this.drive);
    this.trail = [];
    this.last = null;
    this.found = [];
    this.camera = null;
    this.line = new THREE.LineSegments(new THREE.BufferGeometry(), new THREE.LineBasicMaterial({ color: 0xffd166 }));
    this.line.frustumCulled = false;
    this.marks = new THREE.Points(new THREE.BufferGeometry(),
      new THREE.PointsMaterial({ color: 0x62a8ff, size: 7, sizeAttenuation: false }));
    this.marks.frustumCulled = false;
    this.drive.add(this.line, this.marks);
    this.draw();
  }

  setCamera(pose, state, width, height, focal) {
    const matrix = matrixOf(pose), position = new THREE.Vector3().setFromMatrixPosition(matrix);
    if (!this.camera) {
      const geometry = new THREE.BufferGeometry().setFromPoints(frustum(width, height, focal, 1.6 * this.size));
      this.camera = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial());
      this.camera.matrixAutoUpdate = false;
      this.camera.frustumCulled = false;
      this.drive.add(this.camera);
    }
    this.camera.material.color.set(COLOURS[state] ?? 0xffffff);
    this.camera.matrix.copy(matrix);
    this.camera.updateMatrixWorld(true);
    const now = performance.now();
    if (this.last && now - this.last.time < GAP_MS) this.trail.push(this.last.position, position);
    if (this.trail.length > MOST_TRAIL) this.trail.splice(0, 2);
    this.last = { position, time: now };
    replace(this.line, this.trail);
    if (this.follow) {
      this.eye.position.add(position).sub(this.controls.target);
      this.controls.target.copy(position);
      this.controls.update();
    }
    this.draw();
  }

  addFound(pose) {
    this.found.push(new THREE.Vector3(pose.tx, pose.ty, pose.tz));
    if (this.found.length > MOST_FOUND) this.found.shift();
    replace(this.marks, this.found);
  }

  addPhoto(pose, width, height, focal) {
    const corners = frustum(width, height, focal, 1.6 * this.size).map((corner) => corner.applyMatrix4(matrixOf(pose)));
    this.drive.add(new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(corners),
      new THREE.LineBasicMaterial({ color: COLOURS.LOCALIZED })));
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (!width || !height) return;
    this.renderer.setSize(width, height);
    this.eye.aspect = width / height;
    this.eye.updateProjectionMatrix();
    this.draw();
  }

  draw() {
    this.renderer.render(this.scene, this.eye);
  }
}

function frustum(width, height, focal, depth) {
  // The pyramid that a camera sees, as pairs of ends of its edges, and a mark on its upper one.
  const x = (0.5 * width / focal) * depth, y = (0.5 * height / focal) * depth;
  const [apex, a, b, c, d] = [[0, 0, 0], [-x, -y, depth], [x, -y, depth], [x, y, depth], [-x, y, depth]];
  const roof = [0, -1.4 * y, depth];
  return [apex, a, apex, b, apex, c, apex, d, a, b, b, c, c, d, d, a, a, roof, roof, b].map((one) => new THREE.Vector3(...one));
}

export function axisOf(pose, x, y, z) {
  return new THREE.Vector3(x, y, z).applyQuaternion(new THREE.Quaternion(pose.qx, pose.qy, pose.qz, pose.qw));
}

function replace(object, points) {
  object.geometry.dispose();
  object.geometry = new THREE.BufferGeometry().setFromPoints(points);
}

function clear(group) {
  for (const child of [...group.children]) {
    child.geometry?.dispose();
    child.material?.dispose();
    group.remove(child);
  }
}
