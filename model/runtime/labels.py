"""Label orders: what each index of each output means.

Holds constants alone, in the order in which every pack's outputs and every data row's columns stand. Never holds a
label map of a foreign system: importers permute to these orders.
"""

from typing import Final, Literal, get_args

Task = Literal["embedding", "expression", "age", "gender", "attributes", "race"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

LANDMARKS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # left and right are the viewer's
GENDERS: Final = ("female", "male")
EXPRESSIONS: Final = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # RAF-DB's order
RACES: Final = ("white", "black", "asian", "indian", "other")  # UTKFace's order
ATTRIBUTES: Final = (  # CelebA's column order, in lower case
    "5_o_clock_shadow",
    "arched_eyebrows",
    "attractive",
    "bags_under_eyes",
    "bald",
    "bangs",
    "big_lips",
    "big_nose",
    "black_hair",
    "blond_hair",
    "blurry",
    "brown_hair",
    "bushy_eyebrows",
    "chubby",
    "double_chin",
    "eyeglasses",
    "goatee",
    "gray_hair",
    "heavy_makeup",
    "high_cheekbones",
    "male",
    "mouth_slightly_open",
    "mustache",
    "narrow_eyes",
    "no_beard",
    "oval_face",
    "pale_skin",
    "pointy_nose",
    "receding_hairline",
    "rosy_cheeks",
    "sideburns",
    "smiling",
    "straight_hair",
    "wavy_hair",
    "wearing_earrings",
    "wearing_hat",
    "wearing_lipstick",
    "wearing_necklace",
    "wearing_necktie",
    "young",
)
