"""GLSL of the renderer. Textures hold square roots of albedo; the image is written display-encoded (gamma 2)."""

VERTEX = """
#version 330
uniform mat4 bones[5];
uniform mat4 view_projection;
uniform mat4 shadow_matrix;
uniform vec3 sky, ground, fill, fill_direction;
uniform float mouth_open;   // 0 shut .. 1 wide: which of the two baked occlusions counts
uniform vec2 ao_range;      // occlusion is lifted to x + y * ao
uniform float push;         // moves decals toward the camera
uniform float lips;         // z of the inner lips
uniform float swallow;      // how fast light fades behind them
uniform vec2 lids;          // how far the left and the right eye are shut
uniform float sink;         // moves what they cover back, dm
in vec3 in_position, in_normal;
in vec2 in_uv, in_ao;
in vec4 in_chain;
out vec3 v_position, v_normal, v_shadow, v_ambient;
out vec2 v_uv;
out float v_ao, v_shut;
void main() {
    v_shut = in_position.x > 0.0 ? lids.x : lids.y;
    mat4 m = bones[0] * (1.0 - dot(in_chain, vec4(1.0))) + bones[1] * in_chain.x + bones[2] * in_chain.y
           + bones[3] * in_chain.z + bones[4] * in_chain.w;
    vec4 p = m * vec4(in_position - vec3(0.0, 0.0, sink * smoothstep(0.5, 1.0, v_shut)), 1.0);
    vec3 n = normalize(mat3(m) * in_normal);
    v_position = p.xyz;
    v_normal = n;
    v_uv = in_uv;
    v_ao = ao_range.x + ao_range.y * mix(in_ao.x, in_ao.y, mouth_open);
    v_ao *= exp(-swallow * max(lips - in_position.z, 0.0));
    v_shadow = (shadow_matrix * vec4(p.xyz + n * 0.03, 1.0)).xyz * 0.5 + 0.5;
    float up = n.y * 0.5 + 0.5;
    v_ambient = v_ao * (mix(ground, sky, up) + fill * clamp((dot(n, fill_direction) + 0.35) / 1.35, 0.0, 1.0));
    gl_Position = view_projection * p;
    gl_Position.z -= push * gl_Position.w;
}
"""

COMMON = """
#version 330
uniform vec3 camera, key, key_direction, rim, rim_direction, sky;
uniform float exposure;
uniform sampler2DShadow shadow_map;
in vec3 v_position, v_normal, v_shadow, v_ambient;
in vec2 v_uv;
in float v_ao, v_shut;
out vec4 colour;
float lit() {
    vec2 o = vec2(0.9, 0.4) / 256.0;
    return 0.5 * (texture(shadow_map, v_shadow + vec3(o, 0.0)) + texture(shadow_map, v_shadow - vec3(o, 0.0)));
}
float ggx(float nh, float nl, float nv, float a) {   // distribution and visibility, a = roughness squared
    float d = nh * nh * (a * a - 1.0) + 1.0;
    return a * a / (3.14159 * d * d) * 0.25 / max(mix(nl * nv, 1.0, 0.35), 0.05);
}
vec3 display(vec3 c) {
    vec3 d = sqrt(1.0 - exp(-1.3 * exposure * c));
    return mix(d, d * d * (3.0 - 2.0 * d), 0.5);    // a little contrast, as cameras add
}
"""

DEPTH_FRAGMENT = """
#version 330
uniform sampler2D picture;
uniform float cutoff;       // negative: no alpha test
in vec2 v_uv;
void main() {
    if (cutoff >= 0.0 && texture(picture, v_uv).g < cutoff) discard;
}
"""

SKIN = (
    COMMON
    + """
uniform sampler2D picture;
void main() {
    vec4 t = texture(picture, v_uv);
    vec3 albedo = t.rgb * t.rgb;
    vec3 n = normalize(v_normal), v = normalize(camera - v_position);
    float nl = dot(n, key_direction), s = lit();
    vec3 wrap = vec3(0.34, 0.16, 0.10);
    vec3 soft = vec3(s * 0.92 + 0.08 * smoothstep(0.0, 0.6, s), s, s);
    vec3 light = key * clamp((nl + wrap) / (1.0 + wrap), 0.0, 1.0) * soft * mix(1.0, v_ao, 0.35) + v_ambient;
    float nr = clamp(dot(n, rim_direction), 0.0, 1.0), nv = clamp(dot(n, v), 0.0, 1.0);
    float edge = 1.0 - nv;
    light += rim * nr * (0.35 + edge) * v_ao;
    vec3 c = albedo * light;
    vec3 h = normalize(key_direction + v);
    float nh = clamp(dot(n, h), 0.0, 1.0);
    float f = 0.028 + 0.5 * pow(1.0 - clamp(dot(v, h), 0.0, 1.0), 5.0);
    float lobes = 0.8 * ggx(nh, max(nl, 0.0), nv, 0.28) + 0.3 * ggx(nh, max(nl, 0.0), nv, 0.12);
    c += key * (f * lobes * max(nl, 0.0) * s * v_ao * t.a * 1.8);
    c += sky * (v_ao * t.a * (0.010 + 0.16 * edge * edge * edge * edge));
    colour = vec4(display(c), 1.0);
}
"""
)

EYE = (
    COMMON
    + """
uniform sampler2D picture;
void main() {
    vec3 t = texture(picture, v_uv).rgb;
    vec3 n = normalize(v_normal), v = normalize(camera - v_position);
    float nl = dot(n, key_direction), s = lit() * 0.9 + 0.1;
    vec3 c = t * t * (key * clamp((nl + 0.3) / 1.3, 0.0, 1.0) * s * v_ao + v_ambient * 0.95);
    float nh = clamp(dot(n, normalize(key_direction + v)), 0.0, 1.0);
    float nh2 = clamp(dot(n, normalize(vec3(-key_direction.x * 0.6, 0.45, 0.8) + v)), 0.0, 1.0);
    c += key * (0.8 * smoothstep(0.983, 0.995, nh) * s) * v_ao;
    c += sky * (0.25 * smoothstep(0.985, 0.996, nh2)) * v_ao;
    c += sky * v_ao * 0.02;
    colour = vec4(display(c), 1.0);
}
"""
)

MOUTH = (
    COMMON
    + """
uniform sampler2D picture;
uniform vec3 tint;
void main() {
    vec3 t = texture(picture, v_uv).rgb;
    vec3 n = normalize(v_normal), v = normalize(camera - v_position);
    float nl = clamp((dot(n, key_direction) + 0.3) / 1.3, 0.0, 1.0);
    float s = 0.25 + 0.75 * lit();
    vec3 c = t * t * tint * (key * nl * s * v_ao + v_ambient);
    float nh = clamp(dot(n, normalize(key_direction + v)), 0.0, 1.0);
    c += key * 0.25 * pow(nh, 40.0) * s * v_ao;
    colour = vec4(display(c), 1.0);
}
"""
)

DECAL = (
    COMMON
    + """
uniform sampler2D picture;
uniform vec3 tint;
uniform float density, dense_shut;  // with eyes open, and how much more when they are shut
void main() {
    float a = 1.0 - pow(1.0 - texture(picture, v_uv).r, 1.6 * (density + dense_shut * v_shut * v_shut));
    if (a < 0.02) discard;
    vec3 n = normalize(v_normal);
    float nl = clamp((dot(n, key_direction) + 0.4) / 1.4, 0.0, 1.0);
    colour = vec4(display(tint * (key * nl * lit() + v_ambient)), min(a, 1.0));
}
"""
)

HAIR = (
    COMMON
    + """
uniform sampler2D picture;  // strand brightness, coverage
uniform vec3 tint, centre;
uniform vec2 roundness;     // share of the direction from the head centre in the normal; coverage edge
void main() {
    vec2 t = texture(picture, v_uv).rg;
    float a = smoothstep(roundness.y - 0.22, roundness.y + 0.22, t.g);
    if (a < 0.05) discard;
    vec3 outward = normalize(v_position - centre);
    vec3 n = normalize(v_normal), v = normalize(camera - v_position);
    if (dot(n, outward) < 0.0) n = -n;
    n = normalize(mix(n, outward, roundness.x));
    float detail = t.r * 2.55;
    float s = lit();
    float nl = clamp((dot(n, key_direction) + 0.25) / 1.25, 0.0, 1.0);
    float nr = clamp(dot(n, rim_direction) * 0.7 + 0.3, 0.0, 1.0);
    vec3 base = tint * detail;
    vec3 c = base * (key * nl * s * mix(0.5, 1.0, v_ao) + v_ambient + rim * nr * 0.6 * v_ao);
    // Strands run downward over the surface: highlights of a cylinder, one white and one in the hair's colour.
    vec3 strand = normalize(vec3(0.0, -1.0, 0.0) + n * n.y + vec3(0.0, 0.0, 0.0001));
    vec3 h = normalize(key_direction + v);
    float sh = dot(strand + 0.10 * n, h), sh2 = dot(strand - 0.12 * n, h);
    float k1 = pow(max(1.0 - sh * sh, 0.0), 60.0), k2 = pow(max(1.0 - sh2 * sh2, 0.0), 18.0);
    c += key * s * nl * v_ao * detail * (0.035 * k1 + tint * 0.55 * k2);
    c += sky * v_ao * detail * (0.005 + 0.08 * tint);
    colour = vec4(display(c), a);
}
"""
)

CLOTH = (
    COMMON
    + """
uniform sampler2D picture;
uniform vec3 tint;
uniform float shine;
void main() {
    vec3 t = texture(picture, v_uv).rgb;
    vec3 n = normalize(v_normal), v = normalize(camera - v_position);
    if (dot(n, v) < 0.0) n = -n;
    float nl = clamp((dot(n, key_direction) + 0.15) / 1.15, 0.0, 1.0), s = lit();
    float edge = 1.0 - clamp(dot(n, v), 0.0, 1.0);
    vec3 c = t * t * tint * (key * nl * s + v_ambient + rim * clamp(dot(n, rim_direction), 0.0, 1.0) * 0.6);
    float nh = clamp(dot(n, normalize(key_direction + v)), 0.0, 1.0);
    c += key * shine * pow(nh, 60.0) * s + sky * (0.02 + shine * 0.1) * edge * edge * v_ao;
    colour = vec4(display(c), 1.0);
}
"""
)
